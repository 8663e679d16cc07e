"""What all feature files share: named arrays, of which the features are streamed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ncollapse.sources.features.arrays import FeatureSource, check_shape
from ncollapse.sources.features.claims import check_memory
from ncollapse.sources.features.given import as_tensor, floating
from ncollapse.sources.features.keys import HOW, Keys, array_names, listed

BLOCK_ROWS = 8192
HEAD = ("weight", "bias")
STANDARD = {"features": ("features",), "labels": ("labels", "label", "targets")}
TARGETS = "targets"


class Store(FeatureSource):
    """One file: `read` gives a whole small array, `rows` streams the features.

    keys: the names that were asked for; `called` says which array is which. named: the names of
    the classes, where labels are names.
    """

    named: tuple[str, ...] | None = None

    def __init__(self, path: Path, names: tuple[str, ...], keys: Keys | None = None) -> None:
        self.path, self.names = path, names
        self.description = str(path)
        self.keys = keys or Keys()
        self.called = array_names(names, self.keys, str(path))
        self._require()

    def read(self, name: str) -> Any:
        raise NotImplementedError

    def _finish(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        check_shape(shape, dtype, self.description)
        self.num_samples, self.num_features = shape
        self.dtype = floating(dtype)
        block = 1.0 * min(shape[0], BLOCK_ROWS) * shape[1] * dtype.itemsize
        check_memory(block, f"{self.path}: a block of features {shape}")
        check_memory(8.0 * shape[0], f"{self.path}: labels of {shape[0]} samples")
        names = self._optional("class_names")
        named = self.named = self._read_labels(names)
        self._set_head(self._head("weight"), self._head("bias"))
        self._check_named(named, names)
        self._set_split(self._optional("split"))
        self._set_thresholds(self._optional("thresholds"))
        self._set_names(names if named is None else named)
        self._say_keys()

    def _read_labels(self, class_names: Any) -> tuple[str, ...] | None:
        """Class numbers, names or targets, as they are there; numbers under `targets` are those of
        a regression but where they are one integer a sample."""
        if self.keys.given is not None:
            return self._take_labels(self.keys.given, class_names)
        asked = self.keys.labels is not None
        if not asked and TARGETS in self.names:
            found = self.read(TARGETS)
            kind, axes = getattr(found, "dtype", None), getattr(found, "ndim", 1)
            real = kind is not None and _is_real(kind)
            if real or axes > 1:
                self._set_targets(self._tensor(TARGETS))
                return None
        found = self.read(self.called["labels"])
        try:
            return self._take_labels(found, class_names)
        except ValueError as error:
            raise ValueError(self._said("labels", str(error))) from None

    def _tensor(self, name: str) -> torch.Tensor:
        try:
            return as_tensor(self.read(name))
        except ValueError as error:
            raise ValueError(self._said(name, str(error))) from None

    def _said(self, name: str, error: str) -> str:
        """An error with the file and the array that it is of, once."""
        return error if str(self.path) in error else f"{self.path}: {name}: {error}"

    def _optional(self, name: str) -> Any:
        return self.read(name) if name in self.names else None

    def _head(self, word: str) -> Any:
        return self._tensor(self.called[word]) if word in self.called else None

    def _require(self) -> None:
        wanted = ["features"] if self.keys.given is not None else ["features", "labels"]
        missing = [word for word in wanted if word not in self.called]
        if missing:
            raise ValueError(
                f"{self.path}: no array named {' or '.join(missing)}; it holds "
                f"{listed(self._held())}: {HOW}"
                + (", or pass labels= (--labels FILE)" if missing == ["labels"] else "")
            )

    def _held(self) -> Sequence[str]:
        """The names of what there is."""
        return self.names

    def _say_keys(self) -> None:
        """What was found under another name than the usual one."""
        odd = [
            f"{word} from {self.called[word]!r}"
            for word, usual in STANDARD.items()
            if word in self.called and self.called[word] not in usual
        ]
        asked = self.keys.features is not None or self.keys.labels is not None
        if odd and not asked:
            self.notes += (f"{self.path.name}: {', '.join(odd)}",)


def _is_real(kind: Any) -> bool:
    if isinstance(kind, torch.dtype):
        return kind.is_floating_point
    return bool(np.dtype(kind).kind == "f") if isinstance(kind, np.dtype) else False
