"""What a prediction rests on, and which of it a measurement can settle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ncollapse.geometry import Distance, Geometry

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
