"""Deep ReLU features: unconstrained features under decayed matrices with a ReLU between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ncollapse.theory.problems.deep import Deep
from ncollapse.theory.problems.point import Point
from ncollapse.theory.problems.problem import Formula, Solver


def rectified(factors: Sequence[Tensor], entering: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    """What every matrix of a chain puts out, before and after its ReLU, (rows, dim) each."""
    found = []
    for factor in factors:
        before = entering @ factor.T
        entering = before.relu()
        found.append((before, entering))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class ReluPoint(Point):
    """A point with a ReLU behind every inner matrix: logits W_M σ(W_{M-1} ⋯ σ(W_1 h))."""

    @classmethod
    def of(cls, point: Point) -> ReluPoint:
        """The same tensors, read with a ReLU behind every inner matrix."""
        return cls(**{entry.name: getattr(point, entry.name) for entry in fields(point)})

    @property
    def layers(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """What every inner matrix puts out, before and after its ReLU, (rows, dim) each."""
        return rectified(self.inner, self.features)

    @property
    def entering(self) -> Float[Tensor, "samples dim"]:
        """Features as they enter `weight`."""
        return self.layers[-1][1] if self.inner else self.features

    @property
    def classifier(self) -> Float[Tensor, "classes dim"]:
        """Raises ValueError: there is no linear map above the features."""
        raise ValueError("a deep ReLU point has no linear map above its features; read `logits`")

    @property
    def logits(self) -> Float[Tensor, "samples classes"]:
        return self.entering @ self.weight.T


@dataclass(frozen=True)
class DeepReluUFM(Deep):
    """(1/2N) ‖W_M σ(W_{M-1} ⋯ σ(W_1 H)) - Y‖² + Σ λ_l/2 ‖W_l‖² + λ_H/2 ‖H‖², σ the ReLU.

    weight_decays: λ of each of the M ≥ 2 matrices, from the first to the last; feature_decay: λ_H.
    For two equal classes deep neural collapse or zero is the best that is known (a formula); for
    more, solutions of lower rank can be better, and the answer is the best of several candidates,
    an upper bound. Nothing here is certified. Source: Súkeník et al. 2023 and 2024.
    """

    model: ClassVar = "deep-relu"
    least: ClassVar = 2
    cross_entropy: ClassVar = (
        "K ≥ 10, M ≥ 5 or K ≥ 16, M = 4",
        ", under an assumption of theirs",
    )

    @property
    def lost_under_cross_entropy(self) -> bool:
        K, M = self.num_classes, self.depth
        return self.roomy and ((K >= 10 and M >= 5) or (K >= 16 and M == 4))

    @property
    def smooth(self) -> bool:
        """The solutions of low rank stand on the kinks of ReLUs."""
        return False

    def place(self, point: Point, slack: Tensor, share: Tensor) -> Point:
        return ReluPoint.of(point)

    def sources(self) -> tuple[str, ...]:
        return (
            "Súkeník, Mondelli & Lampert 2023, two classes (theorem remembered, not read; "
            "threshold derived and checked numerically)",
            "Súkeník, Lampert & Mondelli 2024, low rank beats deep collapse (abstract read; the "
            "construction and its values are derived)",
            "Garrod & Keating 2025, what cross-entropy would change",
        )

    @property
    def solvers(self) -> tuple[Solver, ...]:
        return (
            Formula("deep_relu:two_equal_classes"),
            Solver("descent", "deep_relu:best_known"),
        )
