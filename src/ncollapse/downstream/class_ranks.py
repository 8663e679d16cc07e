"""A watcher of single classes: the effective rank of each along training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ncollapse.downstream.views import View
from ncollapse.metrics.class_rank import MOST, effective_rank
from ncollapse.record.trace import CLASS_RANK


@dataclass(frozen=True)
class ClassRanks:
    """Effective rank of every class' samples (`ncollapse.metrics.class_rank`), as
    `class_rank:NUMBER` of the class, for `nc.Tracker(…, watch=[ClassRanks()])`. A class that loses
    directions while others keep theirs is what `silent_collapse` asks for.

    layers: those that are read; of each class `most` samples at most, the first ones. Raises
    ValueError for fewer than two.
    """

    layers: tuple[str, ...] = ("head",)
    most: int = MOST

    def __post_init__(self) -> None:
        if self.most < 2:
            raise ValueError(f"most={self.most}; at least two samples of a class show a rank")

    def read(self, view: View) -> dict[str, float | None]:
        """See `ncollapse.downstream.views.Watcher`."""
        if view.layer not in self.layers:
            return {}
        found: dict[str, float | None] = {}
        for label in view.labels.unique().tolist():
            mine = (view.labels == label).nonzero().flatten()[: self.most]
            rank = effective_rank(view.features[mine].to(torch.float64)) if len(mine) > 1 else 0.0
            found[f"{CLASS_RANK}{label}"] = rank or None
        return found
