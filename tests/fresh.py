"""Code in a process of its own, forked from a server that has imported what all of it needs.

A new interpreter spends most of a short run on importing torch. The server starts once a worker,
without pytest in it; each run has its own namespace, folder, environment and output.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

PRELOADED = "tests.preloaded"


@dataclass(frozen=True)
class Done:
    """As `subprocess.run` returns it."""

    returncode: int
    stdout: str
    stderr: str


def run(
    code: str,
    folder: Path,
    *,
    arguments: Sequence[str] = ("-c",),
    environment: Mapping[str, str] | None = None,
    timeout: float = 240,
) -> Done:
    """Run the code as a script would be, in `folder`; a warning of ours or of Python's users is an
    error. arguments: sys.argv."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    with TemporaryDirectory() as place:
        ends = [str(Path(place) / name) for name in ("out", "err")]
        process = context.Process(
            target=_child, args=(code, str(folder), list(arguments), dict(environment or {}), ends)
        )
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise TimeoutError(f"the code ran longer than {timeout} s")
        out, err = (Path(end).read_text("utf-8") for end in ends)
        code_of_exit = process.exitcode
        assert code_of_exit is not None
        return Done(code_of_exit, out, err)


def _child(
    code: str, folder: str, arguments: list[str], environment: dict[str, str], ends: list[str]
) -> None:
    for number, end in enumerate(ends, 1):
        target = os.open(end, os.O_WRONLY | os.O_CREAT)
        os.dup2(target, number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = arguments
    sys.path.insert(0, "" if arguments == ["-c"] else str(Path(arguments[0]).parent))
    warnings.simplefilter("error", UserWarning)
    status = 0
    try:
        exec(
            compile(code, arguments[0], "exec"), {"__name__": "__main__", "__file__": arguments[0]}
        )
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(status)
