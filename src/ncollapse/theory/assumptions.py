"""What a prediction rests on, and which of it a measurement can settle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ncollapse.geometry import Distance, Geometry

if TYPE_CHECKING:
    from ncollapse.theory.solution import Solution

# At least this share of variance must be between the classes to call a class one point.
ONE_POINT = 0.99


@dataclass(frozen=True)
class Assumption:
    """What a prediction rests on. holds: ticked, crossed, or None where it cannot be told."""

    text: str
    holds: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "holds": self.holds}


@dataclass(frozen=True, eq=False)
class Measured:
    """A measurement under a prediction: its geometry, how far theory is from it, and the measured
    share of variance between classes, None where it is not known."""

    geometry: Geometry
    distance: Distance
    class_share: float | None = None


@dataclass(frozen=True)
class Premise:
    """An assumption with its test. test: whether it holds of a measurement, None where that does
    not tell; no test where none can. holds: what is known without one."""

    text: str
    test: Callable[[Measured], bool | None] | None = None
    holds: bool | None = None

    def judged(self, measured: Measured) -> bool | None:
        """What the measurement tells."""
        return None if self.test is None else self.test(measured)


def _one_point(measured: Measured) -> bool | None:
    share = measured.class_share
    return None if share is None else share >= ONE_POINT


FREE = Premise("features are free: the network can move every sample's feature anywhere")
OPTIMAL = Premise("training reached the global minimum of loss plus decay")
COLLAPSED = Premise("samples of a class share one feature (NC1)", _one_point)
EFFECTIVE = Premise("decay acts on features (networks decay weights, so λ_H is effective)")


def premises_of(solution: Solution) -> tuple[Premise, ...]:
    """Those of the problem, and that the width suffices."""
    problem, required = solution.problem, solution.required_width
    width = problem.num_features
    wide = Premise(
        f"the width d is at least {required}",
        lambda measured: measured.geometry.num_features >= required,
        None if width is None else width >= required,
    )
    return *problem.premises(), wide


def assumptions_of(solution: Solution) -> tuple[Assumption, ...]:
    """What a solution rests on; only the width can be ticked without a measurement."""
    return tuple(Assumption(premise.text, premise.holds) for premise in premises_of(solution))
