"""A forward pass that can be cut off: features on disk, with what was read and in which order.

A folder holds numbered sets, one folder a rank in each, and a file that names the current set. In
a rank's folder lie the features of each layer, appended only, and a snapshot with labels, places,
marks of the inputs, checksums of the features and the number of rows that are whole: a file longer
than that is cut when it is opened again. Whoever goes on has the same model (`identity`), the same
inputs (every batch is read again, if not run) and files as they were written, or is refused. Any
number of ranks goes on from any other: they share the old ranks' rows among themselves. The folder
may hold other things: what no kept pass wrote is neither read nor removed.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import torch
from torch import Tensor

from ncollapse.collect.keep.cache import BLOCK_ROWS, FeatureCache, _Rows
from ncollapse.collect.keep.segments import Segments, check, extended
from ncollapse.collect.ranks.ranks import Ranks, together
from ncollapse.collect.ranks.shares import Done
from ncollapse.collect.tap.stream import FeatureBatch
from ncollapse.record.atomic import is_unfinished, remove_empty, remove_unfinished, replacing
from ncollapse.record.snapshots import load_snapshot, previous, save_snapshot

CURRENT, STATE = "CURRENT", "cache.safetensors"
SET, RANK = re.compile(r"(\d{3,})-of([1-9]\d*)"), re.compile(r"rank\d+")
OURS = re.compile(r"\d+\.bin|cache(-\d+)?\.safetensors((-\d+)?\.previous)?")


class KeptCache(FeatureCache):
    """Features of one forward pass in `folder`, saved every `every` seconds.

    `begin` starts anew or, with `resume`, goes on: `done` then says which samples are there. The
    folder stays when the context ends; `remove_kept` deletes it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: float,
        splits: tuple[str, ...],
        fingerprint: str,
        ranks: Ranks | None = None,
    ) -> None:
        super().__init__(0, splits=splits)
        self._root, self._every, self._ranks = folder, every, ranks
        self._fingerprint = fingerprint
        self._rank, self._size = (0, 1) if ranks is None else (ranks.rank, ranks.size)
        self._saved = time.monotonic()
        self._marks: list[Tensor] = []
        self._segments: dict[str, Segments] = {}
        self.done = Done()

    # ---- beginning ----------------------------------------------------------------------------
    def begin(self, resume: bool) -> Done:
        """Prepare the folder: a collective call. Raises ValueError on all ranks when the snapshot
        is of another model, other layers or data, or no generation of it is whole."""
        with together(self._ranks):
            self._root.mkdir(parents=True, exist_ok=True)
            old = _current(self._root) if resume else ""
            # A number that no folder bears: one that is not ours must not be written into.
            number = max((_parsed(place.name)[0] for place in self._root.iterdir()), default=0)
        _, size = _parsed(old)
        same = size == self._size
        name = old if same and old else f"{number + 1:03d}-of{self._size}"
        self._where = self._root / name / f"rank{self._rank}"
        with together(self._ranks):
            self._where.mkdir(parents=True, exist_ok=True)
            for rank in range(size):
                self._read(self._root / old / f"rank{rank}", rank)
            if not same:
                self.save()
        with together(self._ranks):
            if self._rank == 0 and name != old:
                _write_text(self._root / CURRENT, name)
                for other in _sets(self._root):
                    if other.name != name:
                        _remove_set(other)
        return self.done

    def _read(self, place: Path, rank: int) -> None:
        """What is known of an old rank's rows; those that fall to this rank are taken over."""
        if not place.exists():
            return
        if not (place / STATE).exists() and not previous(place / STATE).exists():
            return
        tensors, header = load_snapshot(place / STATE)
        if header["fingerprint"] != self._fingerprint:
            raise ValueError(
                f"the snapshot {self._root} was made with another model, other layers, splits or "
                "options; resume with the same, or delete it to start anew"
            )
        labels, codes, order, marks = (
            tensors[name] for name in ("labels", "codes", "order", "marks")
        )
        for code, split in enumerate(self.splits):
            mine = codes == code
            if bool(mine.any()):
                self.done.add(split, order[mine], labels[mine], marks[mine])
        if rank % self._size != self._rank:
            return
        self._labels.append(labels)
        self._codes.append(codes)
        self._orders.append(order)
        self._marks.append(marks)
        count = labels.shape[0]
        for number, (layer, dim, dtype, segments) in enumerate(header["layers"]):
            rows = _Rows(dim=dim, dtype=getattr(torch, dtype))
            known = [(int(stop), str(digest)) for stop, digest in segments]
            check(known, place / f"{number}.bin", rows.width)
            if self._where == place:
                rows.reopen(place / f"{number}.bin", count)
                self._layers[layer], self._segments[layer] = rows, known
                continue
            rows.path, rows.count = place / f"{number}.bin", count
            mine_rows = self._layers.setdefault(layer, _Rows())
            if mine_rows.file is None:
                self._spill(layer, mine_rows)
            for block in rows.read(0, BLOCK_ROWS):
                mine_rows.append(block)

    # ---- keeping ------------------------------------------------------------------------------
    def append(self, batch: FeatureBatch) -> None:
        assert batch.marks is not None
        # First: after an interrupt in between, marks of rows that are not there are cut.
        self._marks.append(batch.marks)
        super().append(batch)
        if time.monotonic() - self._saved > self._every:
            self.save()

    def save(self) -> None:
        """Make what was read so far last: features first, then the snapshot that counts them."""
        assert self._where is not None
        for rows in self._layers.values():
            if rows.file is not None:
                rows.file.flush()
                os.fsync(rows.file.fileno())
        nothing = torch.zeros(0, dtype=torch.int64)
        # An interrupt may fall between two layers of a batch: what not all hold does not count.
        whole = min((rows.count for rows in self._layers.values()), default=0)
        tensors = {
            "labels": torch.cat(self._labels or [nothing])[:whole],
            "codes": torch.cat([nothing, *self._codes])[:whole],
            "order": torch.cat([nothing, *self._orders])[:whole],
            "marks": torch.cat([nothing, *self._marks])[:whole],
        }
        # One tensor each from now on: the next save concatenates less.
        self._labels, self._codes = [tensors["labels"]], [tensors["codes"]]
        self._orders, self._marks = [tensors["order"]], [tensors["marks"]]
        for layer, rows in self._layers.items():
            known = self._segments.get(layer, [])
            if rows.path is not None:
                # Read back: what is promised is what lies there.
                known = extended(known, rows.path, whole, rows.width)
            self._segments[layer] = known
        header = {
            "kind": "features",
            "fingerprint": self._fingerprint,
            # A list: the order of layers numbers their files.
            "layers": [
                [name, *shape, self._segments.get(name, [])]
                for name, shape in self.shapes().items()
            ],
        }
        save_snapshot(self._where / STATE, tensors, header)
        self._saved = time.monotonic()

    def __exit__(self, *error: object) -> None:
        # Whatever stops the pass, what was read until then is kept.
        if self._where is not None and self._where.exists() and error and error[0] is not None:
            self.save()
        super().__exit__(*error)


def is_kept(folder: Path) -> bool:
    """Whether a kept pass lies in a folder."""
    return bool(_current(folder)) or any(
        OURS.fullmatch(file.name) for place in _sets(folder) for file in place.glob("rank*/*")
    )


def remove_kept(folder: Path) -> None:
    """Delete what kept passes wrote into a folder, and the folder if nothing else lies there."""
    for place in _sets(folder):
        _remove_set(place)
    if _current(folder):
        (folder / CURRENT).unlink()
    if folder.is_dir():
        remove_unfinished(folder)
    remove_empty(folder)


def _current(root: Path) -> str:
    """The set that is current; empty for none, or where a file of others bears the name."""
    try:
        name = (root / CURRENT).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return name if _parsed(name)[1] else ""


def _sets(root: Path) -> list[Path]:
    """Folders of sets: named as ours are, with folders of ranks and nothing else in them."""
    if not root.is_dir():
        return []
    return [
        place
        for place in sorted(root.iterdir())
        if place.is_dir()
        and _parsed(place.name)[1]
        and {bool(RANK.fullmatch(inner.name)) for inner in place.iterdir()} == {True}
    ]


def _remove_set(folder: Path) -> None:
    """Delete the files of a set by name; its folders go when they are empty then."""
    for rank in folder.iterdir():
        for file in rank.iterdir():
            if OURS.fullmatch(file.name) or is_unfinished(file.name):
                file.unlink()
        remove_empty(rank)
    remove_empty(folder)


def _parsed(name: str) -> tuple[int, int]:
    """(number, ranks) of a set's name; (0, 0) for none."""
    found = SET.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as handle:
        handle.write(text.encode())
