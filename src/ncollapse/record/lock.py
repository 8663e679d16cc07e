"""One command a folder: who comes second is told, before anything is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ncollapse.record.atomic import remove_empty, remove_unfinished

LOCK = ".ncollapse-lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The folder is this process's while the block runs.

    The system holds the lock, so one that is killed holds none; its empty file may stay, and the
    next run removes it, with files that it was writing. Where a system or a network disk has no
    locks nothing is held. A folder that was not there is removed again where nothing was written
    into it.

    Raises ValueError where another process has the folder, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is no folder; a folder is needed, or a name that is free")
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    handle = _taken(path, folder)
    try:
        if handle is not None:
            remove_unfinished(folder)
        yield
    finally:
        if handle is not None:
            # Before it is let go: whoever opens it then takes a new one.
            path.unlink(missing_ok=True)
            handle.close()
        for place in new:
            remove_empty(place)


def _taken(path: Path, folder: Path) -> IO[bytes] | None:
    """The locked file; None where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows.
        return None
    while True:
        try:
            handle = path.open("a+b")
        except PermissionError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read(20).decode("ascii", "replace").strip()
            handle.close()
            raise ValueError(
                f"{folder} is being written by another process{f' ({owner})' if owner else ''}; "
                "wait until it is done, or pass another --output"
            ) from None
        except OSError:
            handle.close()
            return None
        if _same_file(handle, path):
            handle.truncate(0)
            handle.write(f"process {os.getpid()}".encode())
            handle.flush()
            return handle
        # It was removed between opening and locking, by the one that had it.
        handle.close()


def _same_file(handle: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except OSError:
        return False
