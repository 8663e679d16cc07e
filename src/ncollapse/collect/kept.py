"""A forward pass that can be cut off: features on disk, with what was read and in which order.

A folder holds numbered sets, one folder a rank in each, and a file that names the current set. In
a rank's folder lie the features of each layer, appended only, and a snapshot with labels, places
and the number of rows that are whole: a file longer than that is cut when it is opened again. Any
number of ranks goes on from any other: they share the old ranks' rows among themselves.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.cache import BLOCK_ROWS, FeatureCache, _Rows
from ncollapse.collect.ranks import Ranks, together
from ncollapse.collect.shares import Done
from ncollapse.collect.stream import FeatureBatch
from ncollapse.snapshots import load_snapshot, save_snapshot

CURRENT, STATE = "CURRENT", "cache.safetensors"


class KeptCache(FeatureCache):
    """Features of one forward pass in `folder`, saved every `every` seconds.

    `begin` starts anew or, with `resume`, goes on: `done` then says which samples are there. The
    folder stays when the context ends; `ncollapse.snapshots.remove_snapshot` deletes it.
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
        self.done = Done()

    # ---- beginning ----------------------------------------------------------------------------
    def begin(self, resume: bool) -> Done:
        """Prepare the folder: a collective call. Raises ValueError on all ranks when the snapshot
        is of another model, other layers or data, or no generation of it is whole."""
        with together(self._ranks):
            self._root.mkdir(parents=True, exist_ok=True)
            current = self._root / CURRENT
            old = current.read_text().strip() if resume and current.exists() else ""
        number, size = _parsed(old)
        same = size == self._size
        name = old if same and old else f"{number + 1:03d}-of{self._size}"
        self._where = self._root / name / f"rank{self._rank}"
        with together(self._ranks):
            if not same:
                shutil.rmtree(self._where, ignore_errors=True)
            self._where.mkdir(parents=True, exist_ok=True)
            for rank in range(size):
                self._read(self._root / old / f"rank{rank}", rank)
            if not same:
                self.save()
        with together(self._ranks):
            if self._rank == 0 and name != old:
                _write_text(self._root / CURRENT, name)
                for other in self._root.iterdir():
                    if other.is_dir() and other.name != name:
                        shutil.rmtree(other)
        return self.done

    def _read(self, place: Path, rank: int) -> None:
        """What is known of an old rank's rows; those that fall to this rank are taken over."""
        if not place.exists():
            return
        if not (place / STATE).exists() and not (place / f"{STATE}.previous").exists():
            return
        tensors, header = load_snapshot(place / STATE)
        if header["fingerprint"] != self._fingerprint:
            raise ValueError(
                f"the snapshot {self._root} was made with another model, other layers, splits or "
                "options; resume with the same, or delete it to start anew"
            )
        labels, codes, order = (tensors[name] for name in ("labels", "codes", "order"))
        for code, split in enumerate(self.splits):
            mine = codes == code
            if bool(mine.any()):
                self.done.add(split, order[mine], labels[mine])
        if rank % self._size != self._rank:
            return
        self._labels.append(labels)
        self._codes.append(codes)
        self._orders.append(order)
        count = labels.numel()
        for number, (layer, dim, dtype) in enumerate(header["layers"]):
            rows = _Rows(dim=dim, dtype=getattr(torch, dtype))
            if self._where == place:
                rows.reopen(place / f"{number}.bin", count)
                self._layers[layer] = rows
                continue
            rows.path, rows.count = place / f"{number}.bin", count
            mine_rows = self._layers.setdefault(layer, _Rows())
            if mine_rows.file is None:
                self._spill(layer, mine_rows)
            for block in rows.read(0, BLOCK_ROWS):
                mine_rows.append(block)

    # ---- keeping ------------------------------------------------------------------------------
    def append(self, batch: FeatureBatch) -> None:
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
            "labels": torch.cat([nothing, *self._labels])[:whole],
            "codes": torch.cat([nothing, *self._codes])[:whole],
            "order": torch.cat([nothing, *self._orders])[:whole],
        }
        # One tensor each from now on: the next save concatenates less.
        self._labels, self._codes = [tensors["labels"]], [tensors["codes"]]
        self._orders = [tensors["order"]]
        header = {
            "kind": "features",
            "fingerprint": self._fingerprint,
            # A list: the order of layers numbers their files.
            "layers": [[name, *shape] for name, shape in self.shapes().items()],
        }
        save_snapshot(self._where / STATE, tensors, header)
        self._saved = time.monotonic()

    def __exit__(self, *error: object) -> None:
        # Whatever stops the pass, what was read until then is kept.
        if self._where is not None and self._where.exists() and error and error[0] is not None:
            self.save()
        super().__exit__(*error)


def fingerprint(model: nn.Module, layers: Mapping[str, nn.Module], options: tuple[Any, ...]) -> str:
    """sha256 of parameter names, shapes and sums, of the layers read and of the options."""
    digest = hashlib.sha256(repr((tuple(layers), options)).encode())
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            continue
        full = getattr(value, "full_tensor", None)
        value = value if full is None else full()
        total = float(value.detach().double().sum()) if value.numel() else 0.0
        digest.update(repr((name, tuple(value.shape), total)).encode())
    return digest.hexdigest()


def _parsed(name: str) -> tuple[int, int]:
    """(number, ranks) of a set's name; (0, 0) for none."""
    number, _, size = name.partition("-of")
    return (int(number), int(size)) if number.isdigit() and size.isdigit() else (0, 0)


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
