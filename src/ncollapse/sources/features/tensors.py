""".safetensors files: features are read slice by slice, in the dtype they were saved in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ncollapse.sources.features.given import floats
from ncollapse.sources.features.keys import Keys
from ncollapse.sources.features.store import Store


class SafetensorsSource(Store):
    """Features of a .safetensors file. class_names may stand in its metadata, comma-separated."""

    def __init__(self, path: Path, keys: Keys | None = None) -> None:
        with damage(path), safe_open(path, framework="pt") as handle:
            names = tuple(handle.keys())
            self._metadata: dict[str, str] = handle.metadata() or {}
            super().__init__(path, names, keys)
            name = self.called["features"]
            part = handle.get_slice(name)
            shape = tuple(part.get_shape())
            empty = 0 in shape or len(shape) != 2
            dtype = handle.get_tensor(name).dtype if empty else part[:1].dtype
        self._finish(shape, dtype)
        if "class_names" in self._metadata:
            self._set_names(self._metadata["class_names"].split(","))

    def read(self, name: str) -> Any:
        with damage(self.path), safe_open(self.path, framework="pt") as handle:
            return handle.get_tensor(name)

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        with damage(self.path), safe_open(self.path, framework="pt") as handle:
            part = handle.get_slice(self.called["features"])
            for place in range(start, self.num_samples, size):
                block: Tensor = part[place : min(place + size, self.num_samples)]
                yield floats(block)


def load_arrays(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a small file."""
    with damage(path), safe_open(path, framework="pt") as handle:
        return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """What the reader says of a damaged file: an unknown dtype is a KeyError or TypeError there."""
    try:
        yield
    except PermissionError:
        raise
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, UnicodeError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{path} is no valid .safetensors file ({said}); save it again") from None
