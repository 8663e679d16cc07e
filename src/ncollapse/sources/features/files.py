"""Feature files: .npz, .safetensors, .parquet, or a folder of shards, streamed row by row.

Arrays are named features (N, d) and labels (N), or targets (N, n); weight (K, d), bias (K), split
(N) and class_names (K) are optional. Nothing is unpickled, and no path inside a file is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncollapse.sources.features.arrays import FeatureSource
from ncollapse.sources.features.store import Store

SUFFIXES = (".npz", ".safetensors", ".parquet")
HEADS = ("head.npz", "head.safetensors")


def open_source(path: Path | str) -> FeatureSource:
    """Open a feature file or a folder of shards.

    Raises ValueError in one sentence: missing or empty file, unknown kind, missing arrays, shapes
    that disagree, labels that are no integers, a weight of the wrong width, a damaged file.
    """
    place = Path(path)
    if not place.exists():
        raise ValueError(f"{place} does not exist; pass a feature file or a folder of shards")
    if place.is_dir():
        return ShardSource(place)
    return _open_file(place)


def _open_file(path: Path) -> Store:
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); save features and labels into it")
    return _reader(path.suffix.lower(), path)(path)


def _reader(suffix: str, path: Path) -> Callable[[Path], Store]:
    if suffix == ".npz":
        from ncollapse.sources.features.npz import NpzSource

        return NpzSource
    if suffix == ".safetensors":
        from ncollapse.sources.features.tensors import SafetensorsSource

        return SafetensorsSource
    if suffix == ".parquet":
        from ncollapse.sources.features.parquet import ParquetSource

        return ParquetSource
    raise ValueError(
        f"{path} has suffix {suffix or 'none'!r}; one of {', '.join(SUFFIXES)} or a folder of "
        "shards is needed"
    )


class ShardSource(FeatureSource):
    """A folder of feature files, read one after the other in order of name.

    The head comes from head.npz or head.safetensors, else from the first shard that holds one.
    Class numbers mean the same in every shard.
    """

    def __init__(self, path: Path) -> None:
        self.description = str(path)
        files = sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES)
        shards = [f for f in files if f.name not in HEADS]
        if not shards:
            raise ValueError(
                f"{path} holds no {', '.join(SUFFIXES)} files; a folder of shards is needed"
            )
        self._parts = [_open_file(shard) for shard in shards]
        first = self._parts[0]
        for part in self._parts:
            if part.num_features != first.num_features or part.dtype != first.dtype:
                raise ValueError(
                    f"{part.path}: features are {part.num_features} wide and {part.dtype}, those "
                    f"of {first.path} {first.num_features} wide and {first.dtype}; shards must "
                    "agree"
                )
        self.num_samples = sum(part.num_samples for part in self._parts)
        self.num_features, self.dtype = first.num_features, first.dtype
        self._join_labels()
        self._join_splits()
        weight, bias, names = self._find_head(path)
        self._set_head(weight, bias)
        self._set_names(names)

    def _join_labels(self) -> None:
        targets = [part.targets for part in self._parts if part.targets is not None]
        if not targets:
            self._set_labels(torch.cat([part.labels for part in self._parts]))
            return
        widths = {part.shape[1] for part in targets}
        if len(targets) < len(self._parts) or len(widths) > 1:
            raise ValueError(
                f"{self.description}: shards hold class numbers or targets of "
                f"{', '.join(map(str, sorted(widths)))} numbers; the same in every shard is needed"
            )
        self._set_targets(torch.cat(targets))

    def _join_splits(self) -> None:
        if all(part.split_codes is None for part in self._parts):
            return
        names: list[str] = []
        for part in self._parts:
            codes = part.split_codes
            filled = torch.zeros(part.num_samples, dtype=torch.int64) if codes is None else codes
            names += [part.splits[code] for code in filled.tolist()]
        self._set_split(names)

    def _find_head(self, path: Path) -> tuple[Any, Any, Any]:
        for name in HEADS:
            place = path / name
            if place.exists():
                found = _head_arrays(place)
                if "weight" not in found:
                    raise ValueError(f"{place}: no array named weight; save the classifier's rows")
                return found["weight"], found.get("bias"), found.get("class_names")
        for part in self._parts:
            if part.weight is not None or part.class_names is not None:
                return part.weight, part.bias, part.class_names
        return None, None, None

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        """Blocks of exactly `size` rows across shard borders, so chunks never depend on them."""
        pending: list[Tensor] = []
        held, before = 0, 0
        for part in self._parts:
            skip = max(0, start - before)
            before += part.num_samples
            if skip >= part.num_samples:
                continue
            for block in part.rows(skip, size):
                pending.append(block)
                held += block.shape[0]
                while held >= size:
                    joined = torch.cat(pending)
                    yield joined[:size]
                    rest = joined[size:]
                    pending, held = ([rest], rest.shape[0]) if rest.shape[0] else ([], 0)
        if held:
            yield torch.cat(pending)


def _head_arrays(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        from ncollapse.sources.features.npz import load_arrays

        return load_arrays(path)
    from ncollapse.sources.features.tensors import load_arrays as load_tensors

    return load_tensors(path)
