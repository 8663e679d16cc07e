"""Features kept for a second look: in memory up to a budget, then in files on disk.

Files are written in order and read in blocks, so neither stays in resident memory.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ncollapse.collect.tap.stream import FeatureBatch, ModelStream
from ncollapse.sources.features.arrays import FeatureSource

BLOCK_ROWS = 8192
ONE_SHOT = (
    "without the cache the data is read several times, and this loader can be read once only; pass "
    "a DataLoader, or leave the cache on"
)


@dataclass
class _Rows:
    """Rows of one layer: full blocks and one that is filling, or a file."""

    blocks: list[Tensor] = field(default_factory=list)
    count: int = 0
    file: BinaryIO | None = None
    path: Path | None = None
    dim: int = 0
    dtype: torch.dtype = torch.float32

    def append(self, features: Tensor) -> int:
        """Add rows; returns the bytes newly taken in memory."""
        if self.dim == 0:
            self.dim, self.dtype = int(features.shape[1]), features.dtype
        if features.shape[1] != self.dim:
            raise ValueError(
                f"features were {self.dim} wide and are now {features.shape[1]}; inputs of one "
                "size, or another pooling, are needed"
            )
        features = features.to(self.dtype)
        if self.file is not None:
            _write(self.file, features)
            self.count += features.shape[0]
            return 0
        taken, start = 0, 0
        while start < features.shape[0]:
            place = self.count % BLOCK_ROWS
            if place == 0:
                self.blocks.append(torch.empty(BLOCK_ROWS, self.dim, dtype=self.dtype))
                taken += self.blocks[-1].nbytes
            part = features[start : start + BLOCK_ROWS - place]
            self.blocks[-1][place : place + part.shape[0]] = part
            self.count += part.shape[0]
            start += part.shape[0]
        return taken

    def spill(self, path: Path) -> None:
        """Move to a file; later rows go there too."""
        self.path, self.file = path, path.open("wb")
        left = self.count
        for block in self.blocks:
            _write(self.file, block[: min(left, BLOCK_ROWS)])
            left -= BLOCK_ROWS
        self.blocks = []

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return self.dim * self.dtype.itemsize

    def reopen(self, path: Path, count: int) -> None:
        """Go on in a file of which the first `count` rows are known to be whole."""
        self.path, self.count = path, count
        self.file = path.open("r+b")
        self.file.truncate(count * self.width)
        self.file.seek(count * self.width)

    def read(self, start: int, size: int) -> Iterator[Tensor]:
        if self.path is None:
            for place in range(start, self.count, size):
                yield self._slice(place, min(place + size, self.count))
            return
        if self.file is not None:
            self.file.flush()
        with self.path.open("rb") as handle:
            handle.seek(start * self.width)
            for place in range(start, self.count, size):
                rows = min(size, self.count - place)
                raw = np.fromfile(handle, dtype=np.uint8, count=rows * self.width)
                if raw.size != rows * self.width:
                    raise ValueError(f"the feature cache {self.path} was cut while it was read")
                yield torch.from_numpy(raw).view(self.dtype).view(rows, self.dim)

    def _slice(self, start: int, stop: int) -> Tensor:
        parts = []
        for number in range(start // BLOCK_ROWS, (stop - 1) // BLOCK_ROWS + 1):
            first = number * BLOCK_ROWS
            low, high = max(start - first, 0), min(stop - first, BLOCK_ROWS)
            parts.append(self.blocks[number][low:high])
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _write(handle: BinaryIO | FileIO, rows: Tensor) -> None:
    try:
        handle.write(rows.contiguous().view(torch.uint8).numpy().data)
    except OSError as error:
        raise OSError(
            f"the feature cache could not be written to {handle.name} ({error.strerror}); free "
            "the disk, set TMPDIR to a larger one, raise the cache budget or switch the cache off"
        ) from None


class FeatureCache:
    """Features of all layers of one forward pass. A context manager: files go when it ends.

    `budget` bytes are kept in memory over all layers; then everything moves to files in a
    temporary folder inside `folder` (default: the system's). `splits` orders the splits where it
    must not depend on which batch comes first.
    """

    def __init__(
        self, budget: float = 1e9, folder: Path | None = None, splits: Sequence[str] = ()
    ) -> None:
        if budget < 0:
            raise ValueError(
                f"cache_budget={budget}; bytes to keep in memory, 0 or more, are needed"
            )
        self.budget = budget
        self._folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._where: Path | None = None
        self._layers: dict[str, _Rows] = {}
        self._labels: list[Tensor] = []
        self._codes: list[Tensor] = []
        self._orders: list[Tensor] = []
        self.splits: list[str] = list(splits)
        self._bytes = 0

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *_: object) -> None:
        for rows in self._layers.values():
            if rows.file is not None:
                rows.file.close()
            rows.blocks = []
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def on_disk(self) -> bool:
        return self._where is not None

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self._layers)

    def fill(self, stream: ModelStream) -> FeatureCache:
        """Take in everything the stream yields: the one forward pass."""
        for batch in stream:
            self.append(batch)
        return self

    def shapes(self) -> dict[str, tuple[int, str]]:
        """(dim, dtype) of each layer, in the order first seen."""
        return {
            name: (rows.dim, str(rows.dtype).removeprefix("torch."))
            for name, rows in self._layers.items()
        }

    def widen(self, shapes: Mapping[str, tuple[int, str]]) -> None:
        """Know layers of which this process has no row."""
        for name, (dim, dtype) in shapes.items():
            if name not in self._layers:
                self._layers[name] = _Rows(dim=dim, dtype=getattr(torch, dtype))

    def append(self, batch: FeatureBatch) -> None:
        if batch.split not in self.splits:
            self.splits.append(batch.split)
        if batch.order is not None:
            self._orders.append(batch.order.clone())
        code = self.splits.index(batch.split)
        self._labels.append(batch.labels.cpu().clone())
        self._codes.append(torch.full((batch.labels.shape[0],), code, dtype=torch.int64))
        for layer, features in batch.features.items():
            rows = self._layers.setdefault(layer, _Rows())
            if self._where is not None and rows.file is None:
                self._spill(layer, rows)
            try:
                self._bytes += rows.append(features.cpu())
            except ValueError as error:
                raise ValueError(f"layer {layer!r}: {error}") from None
        if self._where is None and self._bytes > self.budget:
            self._temporary = tempfile.TemporaryDirectory(
                prefix="ncollapse-cache-", dir=self._folder
            )
            self._where = Path(self._temporary.name)
            for layer, rows in self._layers.items():
                self._spill(layer, rows)

    def _spill(self, layer: str, rows: _Rows) -> None:
        assert self._where is not None
        number = list(self._layers).index(layer)
        rows.spill(self._where / f"{number}.bin")

    def source(self, layer: str, **head: Any) -> CachedSource:
        """The rows of a layer as a source; keywords weight, bias, class_names, description."""
        nothing = torch.zeros(0, dtype=torch.int64)
        source = CachedSource(
            self._layers[layer],
            torch.cat(self._labels or [nothing]),
            torch.cat([nothing, *self._codes]),
            tuple(self.splits),
            **head,
        )
        source.order = torch.cat([nothing, *self._orders]) if self._orders else None
        return source


class CachedSource(FeatureSource):
    """One layer of a cache. Raises ValueError where labels or the head do not fit."""

    def __init__(
        self,
        rows: _Rows,
        labels: Tensor,
        codes: Tensor,
        splits: tuple[str, ...],
        *,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        class_names: Any = None,
        description: str = "model",
    ) -> None:
        self.description = description
        self._rows = rows
        self.num_samples, self.num_features = rows.count, rows.dim
        self.dtype = rows.dtype
        self._set_labels(labels)
        self._set_head(weight, bias)
        self.splits, self.split_codes = splits, codes if len(splits) > 1 else None
        self._set_names(class_names)

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        yield from self._rows.read(start, size)


class RecomputedSource(FeatureSource):
    """One layer without a cache: every look runs the model again.

    Raises ValueError for loaders that can be read once only.
    """

    def __init__(
        self,
        stream: ModelStream,
        layer: str,
        labels: Tensor,
        codes: Tensor,
        splits: tuple[str, ...],
        *,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        class_names: Any = None,
        description: str = "model",
    ) -> None:
        if stream.one_shot:
            raise ValueError(ONE_SHOT)
        self.description, self._stream, self._layer = description, stream, layer
        with closing(iter(stream)) as batches:
            first = next(batches).features[layer]
        self.num_samples, self.num_features = labels.shape[0], int(first.shape[1])
        self._as_read = labels
        self.dtype = first.dtype
        self._set_labels(labels)
        self._set_head(weight, bias)
        self.splits, self.split_codes = splits, codes if len(splits) > 1 else None
        self._set_names(class_names)

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        waiting: list[Tensor] = []
        held = skipped = place = 0
        for batch in self._stream:
            features = batch.features[self._layer].cpu()
            stop = place + batch.labels.shape[0]
            if not torch.equal(batch.labels.cpu(), self._as_read[place:stop]):
                raise ValueError(
                    "the loader gives another order at every look, and without the cache the data "
                    "is read several times; switch shuffling off, or leave the cache on"
                )
            place = stop
            drop = min(start - skipped, features.shape[0])
            skipped += drop
            waiting.append(features[drop:])
            held += waiting[-1].shape[0]
            while held >= size:
                block = torch.cat(waiting)
                yield block[:size]
                waiting = [block[size:]]
                held -= size
        if held:
            yield torch.cat(waiting)

    @property
    def fingerprint(self) -> str:
        """sha256 of labels, splits and head: the features are not read for it."""
        digest = hashlib.sha256(repr((self._layer, self.splits)).encode())
        for part in (self.labels, self.targets, self.split_codes, self.weight, self.bias):
            if part is not None:
                digest.update(part.float().numpy().tobytes())
        return digest.hexdigest()
