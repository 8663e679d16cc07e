"""Files that are written whole or not at all, and files of others that are left alone."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")


@contextmanager
def replacing(path: Path, *, keep: Path | None = None) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once the block has ended well: written beside it,
    fsync, rename. keep: where the file that stood there goes. A block that fails leaves nothing.
    """
    # A name of its own: two threads of one process may write the same file.
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_unfinished(name: str) -> bool:
    """Whether a file of this name was being written by `replacing` when its writer was killed."""
    return bool(UNFINISHED.fullmatch(name))


def remove_unfinished(folder: Path) -> None:
    """Remove what killed writers left in a folder; only where nobody else is writing."""
    for path in folder.iterdir():
        if is_unfinished(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all, in UTF-8."""
    with replacing(path) as handle:
        handle.write(text.encode())


def set_aside(path: Path) -> Path | None:
    """Give what stands at `path` the first free name beside it (`trace-1.csv` for `trace.csv`).

    Returns the new place; None where nothing stood there.
    """
    if not os.path.lexists(path):
        return None
    names = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(1))
    place = next(name for name in names if not os.path.lexists(name))
    path.rename(place)
    return place


def remove_empty(folder: Path) -> None:
    """Remove a folder if nothing lies in it; one that holds anything stays as it is."""
    with suppress(OSError):
        folder.rmdir()
