"""SetMoments: means of samples by the set of labels that they have, one pass, mergeable.

Labels are a matrix (samples, K) of zeros and ones. Every set of labels that occurs is a class of
its own here, so that all of `ClassMoments` (shifted sums, merging, snapshots, ranks) holds.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.protocol import Batch

# Sets beyond the most frequent so many are left out: their means would fill memory.
LARGEST = 4096


def label_sets(
    targets: Tensor, largest: int = LARGEST
) -> tuple[Bool[Tensor, "sets labels"], Int[Tensor, " sets"]]:
    """The sets of labels that occur, without the empty one, and how often: the `largest` most
    frequent, in a fixed order."""
    found, counts = torch.unique(targets > 0, dim=0, return_counts=True)
    kept = found.any(1)
    found, counts = found[kept], counts[kept]
    if len(found) > largest:
        order = counts.argsort(descending=True, stable=True)[:largest].sort().values
        found, counts = found[order], counts[order]
    return found, counts


class SetMoments(ClassMoments):
    """`ClassMoments` in mode "trace" over sets of labels (M, K) that are known beforehand.

    Samples of other sets, and of none, are skipped.
    """

    def __init__(self, sets: Bool[Tensor, "sets labels"], num_features: int) -> None:
        super().__init__(max(2, len(sets)), num_features, mode="trace", ignore_index=-1)
        self.sets = sets
        self._place = {row.numpy().tobytes(): k for k, row in enumerate(sets)}

    def take(self, batch: Batch) -> None:
        assert batch.targets is not None
        rows, back = torch.unique(batch.targets > 0, dim=0, return_inverse=True)
        known = torch.tensor([self._place.get(row.numpy().tobytes(), -1) for row in rows])
        super().take(replace(batch, labels=known[back]))
