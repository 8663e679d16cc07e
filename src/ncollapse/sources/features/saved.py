""".pt and .pth files of tensors, as torch.save writes them, read without running code from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ncollapse.sources.features.given import as_tensor, floats
from ncollapse.sources.features.keys import Keys
from ncollapse.sources.features.store import Store
from ncollapse.sources.specs.states import read_pt

SUFFIXES = (".pt", ".pth")
# So many tensors called weight or bias are those of a model.
PARAMETERS = 4


class SavedSource(Store):
    """Features of a mapping of tensors, of a pair (features, labels), or of a tensor whose labels
    are given. Loaded whole: such files have no rows of their own."""

    def __init__(self, path: Path, keys: Keys | None = None) -> None:
        self._arrays = arrays_of(path)
        super().__init__(path, tuple(self._arrays), keys)
        self._features = as_tensor(self._arrays[self.called["features"]])
        self._finish(tuple(self._features.shape), self._features.dtype)

    def read(self, name: str) -> Any:
        return self._arrays[name]

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        for place in range(start, self.num_samples, size):
            yield floats(self._features[place : place + size])


def arrays_of(path: Path) -> dict[str, Any]:
    """What a file holds, by name; what is nested by names such as train/features. Raises ValueError
    for a state dict, and for anything that holds no arrays."""
    held = read_pt(
        path, otherwise="save a mapping of tensors: torch.save({'features': f, 'labels': y}, path)"
    )
    if isinstance(held, (Tensor, np.ndarray)):
        return {"features": held}
    if isinstance(held, (tuple, list)) and len(held) == 2 and isinstance(held[0], Tensor):
        return {"features": held[0], "labels": held[1]}
    found = _flat(held) if isinstance(held, Mapping) else {}
    ends = [name.rpartition(".")[2] for name in found]
    if sum(end in ("weight", "bias") for end in ends) >= PARAMETERS:
        raise ValueError(
            f"{path} holds the weights of a model, not features; pass --model {path} with --data, "
            "or save features and labels"
        )
    if not found:
        raise ValueError(
            f"{path} holds a {type(held).__name__} without arrays; a mapping of tensors (features, "
            "labels), or a pair of them, is needed"
        )
    return found


def _flat(held: Mapping[Any, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in held.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{name}/")
        elif isinstance(value, (Tensor, np.ndarray)) or (
            isinstance(value, (list, tuple)) and value
        ):
            found[f"{above}{name}"] = value
    return found
