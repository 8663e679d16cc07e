"""Unit features and unit rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ncollapse.losses import Labels, Logits, Loss, PerSample
from ncollapse.theory.problems.counted import MEMORY, PLAIN, Counted, check_loss, check_positive
from ncollapse.theory.problems.point import Point, unit
from ncollapse.theory.problems.problem import DESCENT, Formula, Solver


@dataclass(frozen=True)
class NormalizedUFM(Counted):
    """Features and classifier rows on the unit sphere, no bias: min (1/N) Σ ℓ(t W h_i, y_i).

    temperature: t > 0, the scale of the logits. Source: Yaras et al. 2022.
    """

    temperature: float = 1.0
    loss: Loss = PLAIN

    settings: ClassVar = ("temperature",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "temperature")
        check_loss(self.loss, self.num_classes)

    def place(self, point: Point, slack: Tensor, share: Tensor) -> Point:
        """Rows divided by their norm."""
        return Point(unit(point.weight), unit(point.features))

    def losses(self, logits: Logits, labels: Labels) -> PerSample:
        return self.loss(self.temperature * logits, labels)

    def sources(self) -> tuple[str, ...]:
        return (f"Yaras et al. 2022, unit features and rows {MEMORY}",)

    @property
    def solvers(self) -> tuple[Solver, ...]:
        return Formula("formulas:normalized"), DESCENT
