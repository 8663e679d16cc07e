"""One net for errors: whatever stops a command becomes a sentence and exit code 2."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from ncollapse.cli.ranks import speaks

DEBUG, LONGEST = "--debug", 900
TRACEBACKS = {DEBUG, "-v", "--verbose"}


def fail(error: Exception, arguments: Sequence[str]) -> int:
    """Say on stderr what stopped a command, after the traceback where one was asked for; 2.

    Never 1, whatever the error: that is the code of a check that failed.
    """
    if speaks():
        if TRACEBACKS & set(arguments):
            traceback.print_exception(error, file=sys.stderr)
        sys.stderr.write(f"ncollapse: {sentence(error)}\n")
    return 2


def sentence(error: Exception) -> str:
    """An error in one line: input errors speak for themselves, others are named and explained."""
    said = " ".join(str(error).split())
    kind = type(error).__name__
    if len(said) > LONGEST:
        said = said[:LONGEST] + "…"
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":
        return (
            f"memory ran out{f' ({said})' if said else ''}; fewer samples or features, a smaller "
            "batch or budget, or a machine with more memory is needed"
        )
    if isinstance(error, (ValueError, OSError)):
        return said or kind
    return (
        f"{kind}{f': {said}' if said else ''} (not an error that is known here; --debug shows "
        "where it comes from)"
    )
