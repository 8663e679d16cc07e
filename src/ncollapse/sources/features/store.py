"""What all feature files share: named arrays, of which the features are streamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ncollapse.sources.features.arrays import FeatureSource, as_tensor, check_shape

REQUIRED = ("features", "labels")


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
        self._set_labels(as_tensor(self.read("labels")))
        self._set_head(self._optional("weight"), self._optional("bias"))
        self._set_split(self._optional("split"))
        self._set_names(self._optional("class_names"))

    def _optional(self, name: str) -> Any:
        return self.read(name) if name in self.names else None

    def _require(self) -> None:
        missing = [name for name in REQUIRED if name not in self.names]
        if missing:
            raise ValueError(
                f"{self.path}: no array named {' or '.join(missing)}; it holds "
                f"{', '.join(sorted(self.names)) or 'nothing'}: save features and labels"
            )
