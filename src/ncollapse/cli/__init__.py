"""The command line: one file a command; each parses, calls and writes."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str] | None = None) -> None:
    """Run `ncollapse`. Exit codes: 0 finished, 1 a check failed, 2 bad input, 130 Ctrl-C."""
    import click

    from ncollapse.cli.app import build

    command = build()
    try:
        code = command.main(args=arguments, prog_name="ncollapse", standalone_mode=False)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.exceptions.Abort):
        sys.stderr.write("interrupted\n")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (ValueError, FileNotFoundError, PermissionError, IsADirectoryError) as error:
        if "-v" in (arguments if arguments is not None else sys.argv):
            raise
        sys.stderr.write(f"ncollapse: {_sentence(error)}\n")
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: Exception) -> str:
    """The message on one line."""
    return " ".join(str(error).split()) or type(error).__name__
