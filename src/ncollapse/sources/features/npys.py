""".npy files: features.npy beside labels.npy, read where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ncollapse.sources.features.given import as_tensor, floats
from ncollapse.sources.features.keys import FEATURES, LABELS, Keys, found
from ncollapse.sources.features.store import Store


class NpySource(Store):
    """Arrays by name, each in a file of its own; features are mapped into memory, not loaded."""

    def __init__(self, path: Path, files: dict[str, Path], keys: Keys | None = None) -> None:
        self._files = files
        super().__init__(path, tuple(files), keys)
        self._features = load_npy(files[self.called["features"]])
        kind = as_tensor(np.empty(0, dtype=self._features.dtype)).dtype
        self._finish(tuple(self._features.shape), kind)

    @classmethod
    def of_file(cls, path: Path, keys: Keys | None = None) -> NpySource:
        """A file of features, with labels that were given or stand beside it: labels.npy for
        features.npy, train_labels.npy for train_features.npy, y.npy for X.npy.

        Raises ValueError where there are none.
        """
        keys = keys or Keys()
        if keys.given is not None:
            return cls(path, {"features": path}, Keys(None, None, keys.given))
        beside = {file.stem: file for file in sorted(path.parent.glob("*.npy")) if file != path}
        word = next((w for w in FEATURES if w in path.stem.lower()), None)
        mates = [path.stem.lower().replace(word, label) for label in LABELS] if word else []
        mate = keys.labels if keys.labels in beside else found(beside, mates)
        if mate is None:
            raise ValueError(
                f"{path} holds features alone: pass labels= (--labels FILE), or keep labels.npy "
                "beside features.npy"
            )
        source = cls(path, {"features": path, "labels": beside[mate]})
        source.notes += (f"labels from {beside[mate].name}",)
        return source

    def read(self, name: str) -> Any:
        return np.array(load_npy(self._files[name]))

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        for place in range(start, self.num_samples, size):
            yield floats(as_tensor(np.array(self._features[place : place + size])))


def folder_of_npy(folder: Path, keys: Keys | None = None) -> NpySource | None:
    """Features and labels of a folder of .npy files; None where it holds none."""
    files = {file.stem: file for file in sorted(folder.glob("*.npy"))}
    return NpySource(folder, files, keys) if files else None


def load_npy(path: Path) -> Any:
    """The array in a file, mapped where it can be, without unpickling. Raises ValueError for
    anything else."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except PermissionError:
        raise
    except (ValueError, OSError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        said = " ".join(str(error).split())
        if "pickle" in said.lower() or "object" in said.lower():
            raise ValueError(
                f"{path} holds Python objects, which are not loaded from files; save plain arrays, "
                "and names as texts: labels.astype(str)"
            ) from None
        raise ValueError(f"{path} is no .npy array ({said}); save it with numpy.save") from None
