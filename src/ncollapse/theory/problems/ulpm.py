"""No decay and no bound: a problem of directions."""

from __future__ import annotations

from dataclasses import dataclass

from ncollapse.theory.problems.counted import MEMORY, Counted
from ncollapse.theory.problems.problem import Formula, Solver


@dataclass(frozen=True)
class ULPM(Counted):
    """Cross-entropy of free W and H without decay or bias: gradient flow, no finite minimiser.

    The limit direction is a KKT point of min ½‖W‖² + ½‖H‖² with (w_y - w_j)ᵀh ≥ 1.
    Source: Ji et al. 2022.
    """

    attained = False

    def sources(self) -> tuple[str, ...]:
        return (f"Ji et al. 2022, cross-entropy without decay {MEMORY}",)

    @property
    def solvers(self) -> tuple[Solver, ...]:
        return (
            Formula("directions:direction_without_decay"),
            Solver("descent", "directions:followed"),
        )
