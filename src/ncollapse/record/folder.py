"""A run folder changes whole or not at all, and holds parts of one run only.

New parts are written aside, into a folder inside the run's. Renaming that folder is the moment of
the change: before it the folder holds the run of before, after it the run of after. Moving the
parts to their places is then only tidying, which the next writer finishes where it was cut off;
readers look aside first. What is not a part of a run is never touched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ncollapse.record.atomic import set_aside

RESULTS, CLASSES, LAYERS = "results.json", "classes.csv", "layers.csv"
GEOMETRY, TRACE, PREDICTION = "geometry.safetensors", "trace.csv", "prediction.json"
FRAMES, FILM, REPORT = "frames.safetensors", "film.gif", "report.html"
PARTS = (RESULTS, CLASSES, LAYERS, GEOMETRY, TRACE, PREDICTION, FRAMES, FILM, REPORT)
# Written by a run as it goes, before there are results.
LIVE = (TRACE, FRAMES)
WRITING, WRITTEN, LIST = ".ncollapse-writing", ".ncollapse-written", "parts.json"

Write = Callable[[Path], None]


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """No writer changes the folder meanwhile, where the system has file locks."""
    if not folder.is_dir():
        yield
        return
    with _locked(folder, exclusive=False):
        yield


def part(folder: Path, name: str) -> Path | None:
    """Where a part of the folder's run lies; None where the run has no such part."""
    listed = _listed(folder)
    if listed is not None:
        if name not in listed:
            return None
        if (folder / WRITTEN / name).is_file():
            return folder / WRITTEN / name
    return folder / name if (folder / name).is_file() else None


def replace_parts(folder: Path, parts: Mapping[str, Write], keep: tuple[str, ...] = ()) -> None:
    """Make `parts` the run of the folder, with the parts in `keep` as they are, and no others.

    Raises OSError, with the run of before left whole, where one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, exclusive=True):
        _finish(folder)
        for name in PARTS:
            if (folder / name).is_dir():
                raise IsADirectoryError(
                    f"a folder stands at {folder / name}, where a file of the run belongs; move it"
                )
        if not (folder / RESULTS).exists():
            for name in PARTS:
                if name not in LIVE and name not in keep:
                    set_aside(folder / name)
        aside = folder / WRITING
        _clear(aside)
        aside.mkdir()
        try:
            for name, write in parts.items():
                write(aside / name)
                _settle(aside / name)
            kept = [name for name in keep if name not in parts and (folder / name).exists()]
            (aside / LIST).write_text(json.dumps([*parts, *kept]), encoding="utf-8")
            _settle(aside / LIST)
            _settle(aside)
            aside.rename(folder / WRITTEN)
        except BaseException:
            _clear(aside)
            raise
        _settle(folder)
        _finish(folder)


def _finish(folder: Path) -> None:
    """Bring parts that were written aside to their places, and remove those that are no more."""
    listed = _listed(folder)
    if listed is not None:
        for name in PARTS:
            if (folder / WRITTEN / name).exists():
                (folder / WRITTEN / name).replace(folder / name)
            elif name not in listed:
                (folder / name).unlink(missing_ok=True)
    _clear(folder / WRITTEN)


def _listed(folder: Path) -> list[str] | None:
    """Parts of a run that was written and not yet brought to its place."""
    try:
        found = json.loads((folder / WRITTEN / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, list) else None


def _clear(aside: Path) -> None:
    """Remove a folder that was written aside, by the names that it may hold."""
    for name in (*PARTS, LIST):
        (aside / name).unlink(missing_ok=True)
    with suppress(OSError):
        aside.rmdir()


def _settle(path: Path) -> None:
    """Have a file or folder on disk before what comes next; some systems know it of files only."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _locked(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """A lock on the folder itself: no file is left behind, and a killed writer holds none."""
    try:
        import fcntl
    except ImportError:  # Windows has no locks on folders.
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)
