"""Checksums of rows on disk, in the segments in which they were made to last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 22
Segments = list[tuple[int, str]]


def extended(segments: Segments, path: Path, rows: int, width: int) -> Segments:
    """`segments`, and the one from their end to row `rows` of `width` bytes each."""
    start = segments[-1][0] if segments else 0
    if rows <= start:
        return segments
    return [*segments, (rows, _digest(path, start * width, rows * width))]


def check(segments: Segments, path: Path, width: int) -> None:
    """Raise ValueError where the file is not what the checksums were made of."""
    start = 0
    for stop, known in segments:
        try:
            found = _digest(path, start * width, stop * width)
        except OSError as error:
            found = f"unreadable: {error.strerror}"
        if found != known:
            raise ValueError(
                f"{path} is damaged (rows {start} to {stop} are not those that were written: the "
                "file was cut, altered or removed); delete the snapshot to start anew"
            )
        start = stop


def _digest(path: Path, start: int, stop: int) -> str:
    digest = hashlib.sha256()
    for block in _blocks(path, start, stop):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path, start: int, stop: int) -> Iterator[bytes]:
    with path.open("rb") as handle:
        handle.seek(start)
        while start < stop:
            block = handle.read(min(BLOCK, stop - start))
            if not block:
                return
            start += len(block)
            yield block
