"""The layer-peeled model: energies in the place of decays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ncollapse.losses import CrossEntropy, Loss
from ncollapse.theory.problems.counted import MEMORY, PLAIN, Counted, check_loss, check_positive
from ncollapse.theory.problems.groups import groups_of
from ncollapse.theory.problems.point import Point
from ncollapse.theory.problems.problem import DESCENT, Formula, Found, Solver, by_name


@dataclass(frozen=True)
class LPM(Counted):
    """Layer-peeled model: norms are constrained instead of decayed, no bias.

    min (1/N) Σ ℓ(W h_i, y_i) with (1/K) ‖W‖² ≤ E_W and (1/K) Σ_k (1/n_k) Σ ‖h_ki‖² ≤ E_H.
    weight_energy: E_W; feature_energy: E_H. Source: Fang et al. 2021.
    """

    weight_energy: float = 1.0
    feature_energy: float = 1.0
    loss: Loss = PLAIN

    settings: ClassVar = ("weight_energy", "feature_energy")
    slacks = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "weight_energy", "feature_energy")
        check_loss(self.loss, self.num_classes)

    # ---- descent ------------------------------------------------------------------------------
    @property
    def collapses(self) -> bool:
        """Samples share the energy, which is best spent evenly where the loss is convex."""
        return self.logit_loss.convex

    def place(self, point: Point, slack: Tensor, share: Tensor) -> Point:
        """Each ball is the shadow of a sphere with one slack more, W = √(K E_W) X / √(‖X‖² + s²):
        smooth, and the inside can be reached as well as the boundary."""
        scale = self._radii / (_used(point, share) + slack.square()).sqrt()
        return Point(scale[0] * point.weight, scale[1] * point.features)

    def slack(self, point: Point, share: Tensor) -> Tensor:
        return (self._radii**2 - _used(point, share)).clamp_min(0).sqrt()

    @property
    def _radii(self) -> Tensor:
        energies = (self.weight_energy, self.feature_energy)
        return (self.num_classes * torch.tensor(energies, dtype=torch.float64)).sqrt()

    # ---- what is said of it -------------------------------------------------------------------
    def sources(self) -> tuple[str, ...]:
        return (f"Fang et al. 2021, layer-peeled model {MEMORY}",)

    def notes(self, found: Found) -> list[str]:
        """Where small classes merge: two groups, plain cross-entropy."""
        groups = groups_of(self)
        if len(groups) != 2 or self.loss != CrossEntropy() or groups[1].size < 2:
            return []
        ratio = by_name("lpm:collapse_ratio")(
            groups[0].size,
            groups[1].size,
            weight_energy=self.weight_energy,
            feature_energy=self.feature_energy,
        )
        return [
            f"small classes merge from the ratio R* = {ratio:.4g} of counts on; here it is "
            f"{groups[0].count / groups[1].count:.4g}"
        ]

    @property
    def solvers(self) -> tuple[Solver, ...]:
        return Formula("formulas:peeled"), Solver("convex", "peeled:solve_peeled"), DESCENT


def _used(point: Point, share: Tensor) -> Tensor:
    """‖W‖² and Σ_k (1/n_k) Σ ‖h_ki‖²."""
    features = (point.features.square().sum(1) * share).sum()
    return torch.stack([point.weight.square().sum(), features])
