"""What all feature files share: named arrays, of which the features are streamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ncollapse.sources.features.arrays import FeatureSource, as_tensor, check_shape
from ncollapse.sources.features.claims import check_memory

BLOCK_ROWS = 8192
REQUIRED, HEAD = ("features", "labels"), ("weight", "bias")
TARGETS = "targets"


class Store(FeatureSource):
    """One file: `read` gives a whole small array, `rows` streams the features."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path, self.names = path, names
        self.description = str(path)

    def read(self, name: str) -> Any:
        raise NotImplementedError

    def _finish(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        check_shape(shape, dtype, self.description)
        self.num_samples, self.num_features = shape
        self.dtype = dtype
        block = 1.0 * min(shape[0], BLOCK_ROWS) * shape[1] * dtype.itemsize
        check_memory(block, f"{self.path}: a block of features {shape}")
        check_memory(8.0 * shape[0], f"{self.path}: labels of {shape[0]} samples")
        if TARGETS in self.names:
            self._set_targets(self._tensor(TARGETS))
        else:
            self._set_labels(self._tensor("labels"))
        self._set_head(self._optional("weight"), self._optional("bias"))
        self._set_split(self._optional("split"))
        self._set_thresholds(self._optional("thresholds"))
        self._set_names(self._optional("class_names"))

    def _tensor(self, name: str) -> torch.Tensor:
        try:
            return as_tensor(self.read(name))
        except ValueError as error:
            raise ValueError(self._said(name, str(error))) from None

    def _said(self, name: str, error: str) -> str:
        """An error with the file and the array that it is of, once."""
        return error if str(self.path) in error else f"{self.path}: {name}: {error}"

    def _optional(self, name: str) -> Any:
        if name not in self.names:
            return None
        return self._tensor(name) if name in HEAD else self.read(name)

    def _require(self) -> None:
        known = {*self.names, "labels"} if TARGETS in self.names else self.names
        missing = [name for name in REQUIRED if name not in known]
        if missing:
            raise ValueError(
                f"{self.path}: no array named {' or '.join(missing)}; it holds "
                f"{', '.join(sorted(self.names)) or 'nothing'}: save features and labels"
            )
