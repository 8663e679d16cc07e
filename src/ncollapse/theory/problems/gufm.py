"""Features after a layer normalisation, rows decayed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ncollapse.losses import Loss
from ncollapse.theory.problems.counted import PLAIN, Counted, check_loss, check_positive
from ncollapse.theory.problems.point import Point, unit
from ncollapse.theory.problems.problem import DESCENT, Formula, Solver


@dataclass(frozen=True)
class GUFM(Counted):
    """Generalised unconstrained features: min (1/N) Σ ℓ(W x_i, y_i) + λ_W/2 ‖W‖², no bias, every
    feature x_i of unit norm and zero mean over its d entries, as after a layer normalisation.

    weight_decay: λ_W > 0. The limit of deep residual and transformer families.
    """

    weight_decay: float = 5e-4
    loss: Loss = PLAIN

    settings: ClassVar = ("weight_decay",)
    # Centring takes one.
    spare = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "weight_decay")
        check_loss(self.loss, self.num_classes)

    def place(self, point: Point, slack: Tensor, share: Tensor) -> Point:
        """Features centred over their entries, then divided by their norm."""
        centred = point.features - point.features.mean(1, keepdim=True)
        return Point(point.weight, unit(centred))

    def decays(self, point: Point, copies: Tensor | None) -> Iterator[Tensor]:
        yield self.weight_decay / 2 * point.weight.square().sum()

    def sources(self) -> tuple[str, ...]:
        return ("Generalised unconstrained features; numerical",)

    @property
    def solvers(self) -> tuple[Solver, ...]:
        return Formula("formulas:generalized"), DESCENT
