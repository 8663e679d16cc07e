"""Deep linear features: unconstrained features under a product of decayed matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ncollapse.theory.problems.counted import MEMORY
from ncollapse.theory.problems.deep import Deep
from ncollapse.theory.problems.problem import DESCENT, Formula, Solver


@dataclass(frozen=True)
class DeepLinearUFM(Deep):
    """Mean squared error of W_M ⋯ W_1 H without bias, every factor decayed.

    weight_decays: λ of each of the M ≥ 1 matrices, from the first to the last; feature_decay: λ_H.
    Source: Dang et al. 2023.
    """

    model: ClassVar = "deep-linear"
    cross_entropy: ClassVar = ("K ≥ 4, M ≥ 3 or K ≥ 6, M = 2", "")

    @property
    def lost_under_cross_entropy(self) -> bool:
        K, M = self.num_classes, self.depth
        return self.roomy and ((K >= 4 and M >= 3) or (K >= 6 and M == 2))

    def sources(self) -> tuple[str, ...]:
        return (
            f"Dang et al. 2023, deep linear features {MEMORY}; per-class form derived",
            "Garrod & Keating 2025, what cross-entropy would change",
        )

    @property
    def solvers(self) -> tuple[Solver, ...]:
        return Formula("deep_linear:deep_linear"), DESCENT
