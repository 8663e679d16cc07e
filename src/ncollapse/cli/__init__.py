"""The command line: one file a command; each parses, calls and writes."""

from __future__ import annotations

import os
import sys

COMPLETE = "_NCOLLAPSE_COMPLETE"


def main(arguments: list[str] | None = None) -> None:
    """Run `ncollapse`. Exit codes: 0 finished, 1 a check failed, 2 bad input, 130 Ctrl-C."""
    import typer

    from ncollapse.cli.app import build
    from ncollapse.cli.characters import spare_terminal
    from ncollapse.cli.failure import fail

    arguments = sys.argv[1:] if arguments is None else arguments
    spare_terminal()
    code: object = 0
    try:
        # Not the command's own `main`: it makes exit codes of broken pipes and of EOFError.
        command = build()
        if COMPLETE in os.environ:
            # A shell asks what could come next; answered by typer, which then exits.
            command.main(args=list(arguments), prog_name="ncollapse", complete_var=COMPLETE)
        with command.make_context("ncollapse", list(arguments)) as context:
            code = command.invoke(context)
    except typer.Exit as error:
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        # Usage errors know how to show themselves, whichever click typer was built on.
        if hasattr(error, "show"):
            error.show()
            code = 2
        else:
            code = fail(error, arguments)
    sys.exit(code if isinstance(code, int) else 0)
