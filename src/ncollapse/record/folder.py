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
from dataclasses import dataclass
from pathlib import Path

from ncollapse.record.atomic import remove_unfinished, set_aside

RESULTS, CLASSES, LAYERS = "results.json", "classes.csv", "layers.csv"
GEOMETRY, TRACE, PREDICTION = "geometry.safetensors", "trace.csv", "prediction.json"
FRAMES, FILM, REPORT = "frames.safetensors", "film.gif", "report.html"
CONFIG = "config.toml"
PARTS = (RESULTS, CLASSES, LAYERS, CONFIG, GEOMETRY, TRACE, PREDICTION, FRAMES, FILM, REPORT)
# Written by a run as it goes, before there are results.
LIVE = (TRACE, FRAMES)
WRITING, WRITTEN, LIST = ".ncollapse-writing", ".ncollapse-written", "parts.json"

Write = Callable[[Path], None]


@dataclass(frozen=True)
class Kind:
    """What a folder holds one of: the part that says that it is there, all parts by name (those in
    folders as folder/name), and those written as it goes. mark: tells what is written aside from
    that of other kinds in the same folder."""

    head: str
    parts: tuple[str, ...]
    live: tuple[str, ...] = ()
    mark: str = ""


RUN = Kind(RESULTS, PARTS, LIVE)


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
    listed = _listed(folder / WRITTEN)
    if listed is not None:
        if name not in listed:
            return None
        if (folder / WRITTEN / name).is_file():
            return folder / WRITTEN / name
    return folder / name if (folder / name).is_file() else None


def replace_parts(
    folder: Path, parts: Mapping[str, Write], keep: tuple[str, ...] = (), kind: Kind = RUN
) -> None:
    """Make `parts` the run of the folder, with the parts in `keep` as they are, and no others.

    Raises OSError, with the run of before left whole, where one cannot be written.
    """
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file; a folder is needed, or a name that is free")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, exclusive=True):
        _finish(folder, kind)
        for name in kind.parts:
            if (folder / name).is_dir():
                raise IsADirectoryError(
                    f"a folder stands at {folder / name}, where a file of the run belongs; move it"
                )
            if (folder / name).parent.is_file():
                raise NotADirectoryError(
                    f"a file stands at {(folder / name).parent}, where a folder of the run "
                    "belongs; move it"
                )
        if not (folder / kind.head).exists():
            for name in kind.parts:
                if name not in kind.live and name not in keep:
                    set_aside(folder / name)
        aside = folder / (WRITING + kind.mark)
        _clear(aside)
        aside.mkdir()
        try:
            kept = [name for name in keep if name not in parts and (folder / name).exists()]
            # First, for whoever clears what was cut off.
            (aside / LIST).write_text(json.dumps([*parts, *kept]), encoding="utf-8")
            _settle(aside / LIST)
            for name, write in parts.items():
                (aside / name).parent.mkdir(exist_ok=True)
                write(aside / name)
                _settle(aside / name)
            for place in dict.fromkeys((aside / name).parent for name in (*parts, LIST)):
                _settle(place)
            aside.rename(folder / (WRITTEN + kind.mark))
        except BaseException:
            _clear(aside)
            raise
        _settle(folder)
        _finish(folder, kind)


def _finish(folder: Path, kind: Kind) -> None:
    """Bring parts that were written aside to their places, and remove those that are no more."""
    aside = folder / (WRITTEN + kind.mark)
    listed = _listed(aside)
    if listed is not None:
        for name in dict.fromkeys((*kind.parts, *listed)):
            if (aside / name).exists():
                (folder / name).parent.mkdir(exist_ok=True)
                (aside / name).replace(folder / name)
            elif name not in listed:
                (folder / name).unlink(missing_ok=True)
    _clear(aside)


def _listed(aside: Path) -> list[str] | None:
    """Parts that were written aside, whether or not they have been brought to their places."""
    try:
        found = json.loads((aside / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, list):
        return None
    # A list of ours names nothing outside its folder.
    names = [name for name in found if isinstance(name, str)]
    return [name for name in names if ".." not in name and not Path(name).is_absolute()]


def _clear(aside: Path) -> None:
    """Remove a folder that was written aside, by the names that it may hold."""
    names = dict.fromkeys((*PARTS, *(_listed(aside) or ())))
    places = {(aside / name).parent for name in names}
    for name in names:
        (aside / name).unlink(missing_ok=True)
    for place in places | {aside}:
        # A writer that was killed inside a file left it under a name of its own.
        if place.is_dir():
            remove_unfinished(place)
    for place in places - {aside}:
        with suppress(OSError):
            place.rmdir()
    # Last: without the list the others could not be found again.
    (aside / LIST).unlink(missing_ok=True)
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
