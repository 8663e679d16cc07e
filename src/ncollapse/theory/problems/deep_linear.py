"""Deep linear features: unconstrained features under a product of decayed matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ncollapse.losses import CrossEntropy, Loss, MeanSquaredError
from ncollapse.theory.problems.counted import MEMORY, Counted
from ncollapse.theory.problems.point import Point
from ncollapse.theory.problems.problem import DESCENT, Formula, Shapes, Solver


@dataclass(frozen=True)
class DeepLinearUFM(Counted):
    """Mean squared error of W_M ⋯ W_1 H without bias, every factor decayed.

    weight_decays: λ of each of the M ≥ 1 matrices, from the first to the last; feature_decay: λ_H.
    Source: Dang et al. 2023.
    """

    weight_decays: tuple[float, ...] = (5e-4, 5e-4)
    feature_decay: float = 1e-5

    settings: ClassVar = ("weight_decay", "feature_decay", "depth")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weight_decays", tuple(self.weight_decays))
        decays = (*self.weight_decays, self.feature_decay)
        if not self.weight_decays or not all(decay > 0 for decay in decays):
            raise ValueError(
                f"weight_decays={self.weight_decays}, feature_decay={self.feature_decay}; at least "
                "one matrix and positive decays are needed"
            )

    @classmethod
    def made(
        cls,
        counts: Sequence[int],
        loss: Loss,
        num_features: int | None,
        weight_decay: float = 5e-4,
        depth: int = 2,
        **settings: Any,
    ) -> Counted:
        if loss not in (CrossEntropy(), MeanSquaredError()):
            raise ValueError(
                f"model 'deep-linear' is solved for mean squared error, which it takes whatever "
                f"the default; {loss.name} was passed"
            )
        if depth < 1:
            raise ValueError(f"depth={depth}; at least one weight matrix is needed")
        decays = (weight_decay,) * depth
        return cls(tuple(counts), decays, num_features=num_features, **settings)

    @property
    def loss(self) -> Loss:
        return MeanSquaredError()

    # ---- descent ------------------------------------------------------------------------------
    def shapes(self, rows: int, width: int) -> Shapes:
        inner = len(self.weight_decays) - 1
        return [*super().shapes(rows, width), *[(width, width)] * inner]

    def units(self, copies: Tensor) -> tuple[float, Tensor]:
        """h_k = g_k √(K/N)/√π_k, of the size of h for equal counts."""
        lift = (self.num_samples / copies).sqrt()[:, None]
        return 1.0, lift / math.sqrt(self.num_classes)

    def decays(self, point: Point, copies: Tensor | None) -> Iterator[Tensor]:
        yield self.feature_decay / 2 * point.feature_energy(copies)
        factors = (*point.inner, point.weight)
        for decay, factor in zip(self.weight_decays, factors, strict=True):
            yield decay / 2 * factor.square().sum()

    # ---- what is said of it -------------------------------------------------------------------
    def sources(self) -> tuple[str, ...]:
        return (f"Dang et al. 2023, deep linear features {MEMORY}; per-class form derived",)

    @property
    def solvers(self) -> tuple[Solver, ...]:
        return Formula("deep_linear:deep_linear"), DESCENT
