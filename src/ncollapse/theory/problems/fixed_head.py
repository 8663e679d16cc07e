"""A classifier that is given and not trained: only features are free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ncollapse.geometry import Geometry
from ncollapse.losses import Loss
from ncollapse.theory.assumptions import EFFECTIVE, Measured, Premise
from ncollapse.theory.problems.counted import MEMORY, PLAIN, Counted, check_loss, check_positive
from ncollapse.theory.problems.problem import Shapes, Solver

FRAMES = ("simplex", "orthogonal")
# Classifiers whose normalised Gram matrices differ by less are the same head.
SAME_HEAD = 1e-3


def _same_head(measured: Measured) -> bool | None:
    found = measured.distance.blocks.get("weights")
    return None if found is None else found <= SAME_HEAD


FIXED = Premise("the classifier is the given head and is not trained", _same_head)


@dataclass(frozen=True)
class FixedHead(Counted):
    """A classifier that is given and not trained: min over H alone of (1/N) Σ ℓ(W h_i + b, y_i),
    with ‖h_i‖² ≤ E_H for every sample, or + λ_H/2 ‖H‖².

    head: "simplex" (rows of cosines -1/(K-1), d ≥ K - 1) or "orthogonal" (d ≥ K), rows of squared
    length E_W; or a Geometry whose weight (K, d) it is; its bias, if it has one, stays as it is.
    weight_energy: E_W of a frame, default 1; a Geometry has its own lengths. feature_energy:
    E_H > 0, or feature_decay: λ_H > 0; not both, default E_H = 1. loss:
    any that reads logits, dot regression too. Raises ValueError outside these ranges.

    Samples do not compete, so that class counts do not move the optimum (with decay it depends on
    N λ_H). Sources: Zhu et al. 2021, Yang et al. 2022.
    """

    head: str | Geometry = "simplex"
    weight_energy: float | None = None
    feature_energy: float | None = None
    feature_decay: float | None = None
    loss: Loss = PLAIN

    settings: ClassVar = ("head", "weight_energy", "feature_energy", "feature_decay")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "weight_energy", "feature_energy", "feature_decay")
        if self.feature_energy is not None and self.feature_decay is not None:
            raise ValueError(
                f"feature_energy={self.feature_energy} and feature_decay={self.feature_decay}: "
                "features are limited in length or decayed; pass one of the two"
            )
        if self.feature_energy is None and self.feature_decay is None:
            object.__setattr__(self, "feature_energy", 1.0)
        energy = head_energy(self.head, self.weight_energy)
        if self.given is not None:
            self._check_given(self.given)
        else:
            object.__setattr__(self, "weight_energy", energy)
            least = self.num_classes - (self.head == "simplex")
            if self.num_features is not None and self.num_features < least:
                raise ValueError(
                    f"num_features={self.num_features} cannot hold the {self.head} head of "
                    f"{self.num_classes} classes; at least {least} are needed"
                )
        check_loss(self.loss, self.num_classes, fixed=True)

    @classmethod
    def loss_parameters(cls, loss: str, passed: dict[str, Any]) -> dict[str, Any]:
        """Dot regression takes E_W and E_H from the head and the features."""
        if loss != "dr":
            return {}
        head = "simplex" if passed["head"] is None else passed["head"]
        energy = head_energy(head, passed["weight_energy"])
        return {"weight_energy": energy, "feature_energy": passed["feature_energy"] or 1.0}

    def _check_given(self, head: Geometry) -> None:
        assert head.weight is not None
        classes, width = head.weight.shape
        if classes != self.num_classes:
            raise ValueError(
                f"the head has {classes} rows and counts has {self.num_classes} classes; one row "
                "a class, in its order, is needed"
            )
        if self.num_features not in (None, width):
            raise ValueError(
                f"num_features={self.num_features} and the head reads {width} features; leave "
                "num_features out"
            )
        object.__setattr__(self, "num_features", int(width))

    @property
    def given(self) -> Geometry | None:
        """The head where it is one and no frame."""
        return self.head if isinstance(self.head, Geometry) else None

    @property
    def radius(self) -> float:
        """√E_H, ∞ with decay."""
        return math.inf if self.feature_energy is None else math.sqrt(self.feature_energy)

    @property
    def effective_decay(self) -> float:
        """μ = N λ_H: each class minimises w_k ℓ + μ/2 ‖h‖². 0 without decay."""
        return self.num_samples * (self.feature_decay or 0.0)

    def shapes(self, rows: int, width: int) -> Shapes:
        raise ValueError(
            "a fixed head leaves every class a small convex problem; solve it with "
            "ncollapse.theory.solve instead of descent"
        )

    # ---- what is said of it -------------------------------------------------------------------
    def describe(self) -> dict[str, Any]:
        found = super().describe()
        return found if self.given is None else {**found, "head": "given"}

    def sources(self) -> tuple[str, ...]:
        return (
            "One convex problem a class, its optimum and its bound: derived, checked",
            f"Zhu et al. 2021, classifiers fixed to a simplex {MEMORY}",
            f"Yang et al. 2022, fixed simplex and dot regression {MEMORY}",
        )

    def premises(self) -> tuple[Premise, ...]:
        limited = EFFECTIVE
        if self.feature_energy is not None:
            limited = Premise(f"features are limited to ‖h‖² ≤ {self.feature_energy:g}")
        return *super().premises(), FIXED, limited

    # ---- how it is solved ---------------------------------------------------------------------
    @property
    def solvers(self) -> tuple[Solver, ...]:
        return (
            Solver("closed form", "fixed_head:in_closed_form"),
            Solver("convex", "fixed_head:numerically"),
        )

    def refusal(self, solver: str) -> str:
        if solver == "closed form":
            return (
                "no closed form is known for this FixedHead: dot regression has one, and the "
                'frames "simplex" and "orthogonal" with losses that treat classes alike; use '
                'solver="auto"'
            )
        return (
            f'solver "{solver}" does not apply to FixedHead, whose classes are small convex '
            'problems of their own; use "auto"'
        )


def head_energy(head: str | Geometry, weight_energy: float | None = None) -> float:
    """E_W of a head: of a frame as passed (default 1), of a Geometry its mean squared row length.

    Raises ValueError for an unknown frame, a Geometry without a finite, nonzero weight, and a
    weight_energy that is not that of the Geometry.
    """
    if not isinstance(head, Geometry):
        if head not in FRAMES:
            raise ValueError(
                f"head={head!r}; 'simplex', 'orthogonal' or a Geometry with a weight is needed"
            )
        return 1.0 if weight_energy is None else weight_energy
    if head.weight is None:
        raise ValueError("the head's geometry holds no weight; a classifier (K, d) is needed")
    energy = float(head.weight.square().sum(1).mean())
    biased = head.bias is None or bool(head.bias.isfinite().all())
    if not (math.isfinite(energy) and energy > 0 and biased):
        raise ValueError("the head's weight is zero or not finite; finite rows are needed")
    if weight_energy is not None and not math.isclose(energy, weight_energy, rel_tol=1e-6):
        raise ValueError(
            f"weight_energy={weight_energy} and the head's rows have the mean squared length "
            f"{energy:.6g}; leave weight_energy out, or scale the head"
        )
    return energy
