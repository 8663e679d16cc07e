"""Where a run of a study may keep checkpoints: said by the runner, read by the work it calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncollapse.record.atomic import remove_empty

FOLDER = "checkpoints"


@dataclass(frozen=True)
class Place:
    """A folder of one run; resume: go on from what lies there."""

    folder: Path
    resume: bool


_HERE: ContextVar[Place | None] = ContextVar("place of checkpoints", default=None)


@contextmanager
def at(place: Place | None) -> Iterator[None]:
    """Work within this block finds its checkpoints in `place`; None keeps none."""
    token = _HERE.set(place)
    try:
        yield
    finally:
        _HERE.reset(token)


def checkpoint(name: str) -> dict[str, Any]:
    """`checkpoint` and `resume` of the training `Settings` of one model of the run; empty where
    nothing is kept."""
    here = _HERE.get()
    return {} if here is None else {"checkpoint": here.folder / f"{name}.pt", "resume": here.resume}


def clear(folder: Path) -> None:
    """A finished run needs no checkpoints; the last one takes the folder of all with it. What
    others keep there stays, and the folder with it."""
    # The second: left by a run that was killed while it wrote.
    for pattern in ("*.pt", ".*.pt.*.tmp"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    remove_empty(folder)
    remove_empty(folder.parent)
