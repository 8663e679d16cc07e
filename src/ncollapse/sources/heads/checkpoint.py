"""A checkpoint as named tensors: what is known of each before it is read, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entry:
    """What is known of a tensor before it is read. turned: whether it is stored (dim, classes), its
    shape here being (classes, dim)."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    turned: bool = False


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Named tensors of floats. ordered: whether they stand in the order in which the model made
    them; config: what a config.json beside them says; ends: names that a graph says make its
    outputs."""

    description: str
    entries: Mapping[str, Entry]
    fetch: Callable[[str], Tensor]
    ordered: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    ends: tuple[str, ...] = ()

    def read(self, name: str) -> Tensor:
        """One tensor, as (classes, dim) where it is a matrix."""
        found = self.fetch(name)
        return found.mT if self.entries[name].turned else found
