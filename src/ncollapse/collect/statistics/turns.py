"""What a second look does with every sample: its place in its class, and what it is about the mean.

By places samples are dealt evenly: files sorted by class, or by time, as shuffled ones are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Numbers of a piece that stays in a core's cache while it is shifted, squared and added.
PIECE = 1 << 18


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


def about(
    means: Float[Tensor, "classes dim"],
    features: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
) -> Iterator[tuple[slice, Float[Tensor, "some dim"]]]:
    """Pieces of samples less the mean of their class, in float64: a difference of near numbers is
    then as exact as the features."""
    size = max(PIECE // features.shape[1], 16)
    for start in range(0, labels.numel(), size):
        part = slice(start, start + size)
        yield part, features[part].to(torch.float64) - means[labels[part]]
