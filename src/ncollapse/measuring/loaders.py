"""Loaders by the name of their split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def split_loaders(data: Any, train: Any, test: Any) -> dict[str, Any]:
    """Loaders by split name. Raises ValueError when a split is passed twice, or none, and for
    names that differ in type only."""
    if isinstance(data, Mapping):
        loaders = {str(split): loader for split, loader in data.items()}
        if len(loaders) < len(data):
            raise ValueError(
                f"splits are named {', '.join(map(repr, data))}, of which two are the same name; "
                "give each split a name of its own"
            )
    else:
        loaders = {} if data is None else {"train": data}
    for split, loader in (("train", train), ("test", test)):
        if loader is None:
            continue
        if split in loaders:
            raise ValueError(f"split {split!r} was passed twice; pass data, or train= and test=")
        loaders[split] = loader
    if not loaders:
        raise ValueError("no data was passed; pass a loader, or train=… and test=…")
    return loaders
