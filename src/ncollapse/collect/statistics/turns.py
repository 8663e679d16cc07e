"""Turns: how many samples of its class came before each, so that samples can be dealt evenly.

Files sorted by class, or by time, are dealt as shuffled ones are.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor


class Turns:
    """Counts samples of every class as they pass."""

    def __init__(self, num_classes: int) -> None:
        self.seen = torch.zeros(num_classes, dtype=torch.int64)

    def places(
        self, labels: Int[Tensor, " samples"], given: Int[Tensor, " samples"] | None
    ) -> Int[Tensor, " samples"]:
        """Place of each sample in its class. `given` says it where other processes have seen some
        of them; by default the order of arrival does."""
        if given is not None:
            return given
        order = torch.argsort(labels, stable=True)
        sizes = torch.bincount(labels, minlength=self.seen.numel())
        starts = sizes.cumsum(0) - sizes
        rank = torch.empty_like(labels)
        rank[order] = torch.arange(labels.numel()) - starts[labels[order]]
        found = self.seen[labels] + rank
        self.seen += sizes
        return found
