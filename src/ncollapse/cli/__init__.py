"""The command line: one file a command; each parses, calls and writes."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str] | None = None) -> None:
    """Run `ncollapse`. Exit codes: 0 finished, 1 a check failed, 2 bad input, 130 Ctrl-C."""
    import typer

    from ncollapse.cli.app import build
    from ncollapse.cli.ranks import speaks

    code: object = 0
    try:
        code = build().main(args=arguments, prog_name="ncollapse", standalone_mode=False)
    except typer.Exit as error:
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        if "-v" in (arguments if arguments is not None else sys.argv):
            raise
        if speaks():
            said = " ".join(str(error).split()) or type(error).__name__
            sys.stderr.write(f"ncollapse: {said}\n")
        code = 2
    except Exception as error:
        # Usage errors know how to show themselves, whichever click typer was built on.
        if not hasattr(error, "show"):
            raise
        error.show()
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
