"""What deep unconstrained features share: a chain of decayed matrices above free features."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ncollapse.losses import CrossEntropy, Loss, MeanSquaredError
from ncollapse.theory.assumptions import Premise
from ncollapse.theory.problems.counted import Counted
from ncollapse.theory.problems.point import Point
from ncollapse.theory.problems.problem import Found, Shapes


@dataclass(frozen=True)
class Deep(Counted):
    """Mean squared error of M matrices above free features, without bias, everything decayed.

    weight_decays: λ of each matrix, from the first to the last; feature_decay: λ_H.
    """

    weight_decays: tuple[float, ...] = (5e-4, 5e-4)
    feature_decay: float = 1e-5

    settings: ClassVar = ("weight_decay", "feature_decay", "depth")
    model: ClassVar[str]
    # The fewest matrices.
    least: ClassVar[int] = 1
    # Garrod & Keating 2025: classes and matrices from which on, under cross-entropy and for widths
    # of at least K, deep collapse is no global minimum; and what they ask beside.
    cross_entropy: ClassVar[tuple[str, str]]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weight_decays", tuple(self.weight_decays))
        decays = (*self.weight_decays, self.feature_decay)
        few = "at least one matrix" if self.least == 1 else f"at least {self.least} matrices"
        if self.depth < self.least or not all(
            decay > 0 and math.isfinite(decay) for decay in decays
        ):
            raise ValueError(
                f"weight_decays={self.weight_decays}, feature_decay={self.feature_decay}; {few} "
                "and positive decays are needed"
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
                f"model '{cls.model}' is solved for mean squared error, which it takes whatever "
                f"the default; {loss.name} was passed. {cls._facts()}"
            )
        if depth < cls.least:
            raise ValueError(
                f"depth={depth}; at least {'one' if cls.least == 1 else cls.least} weight "
                f"{'matrix is' if cls.least == 1 else 'matrices are'} needed"
            )
        decays = (weight_decay,) * depth
        return cls(tuple(counts), weight_decays=decays, num_features=num_features, **settings)

    @property
    def depth(self) -> int:
        """M, how many matrices."""
        return len(self.weight_decays)

    @property
    def loss(self) -> Loss:
        return MeanSquaredError()

    # ---- descent ------------------------------------------------------------------------------
    def shapes(self, rows: int, width: int) -> Shapes:
        return [*super().shapes(rows, width), *[(width, width)] * (self.depth - 1)]

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
    def premises(self) -> tuple[Premise, ...]:
        return *super().premises(), Premise(f"the loss is mean squared error. {self._facts()}")

    def notes(self, found: Found) -> list[str]:
        if not self.lost_under_cross_entropy:
            return []
        beside = self.cross_entropy[1]
        return [
            f"solved for mean squared error; under cross-entropy with K = {self.num_classes} and "
            f"{self.depth} matrices deep collapse is no global minimum (Garrod & Keating 2025"
            f"{beside})"
        ]

    @property
    def lost_under_cross_entropy(self) -> bool:
        """Whether deep collapse is known to be no global minimum under cross-entropy, K ≤ d."""
        raise NotImplementedError

    @classmethod
    def _facts(cls) -> str:
        when, beside = cls.cross_entropy
        return (
            "Under cross-entropy deep collapse cannot be a global minimum where "
            f"{when}, with M matrices of width ≥ K (Garrod & Keating 2025{beside})"
        )

    @property
    def roomy(self) -> bool:
        """Whether the width has room for a direction a class."""
        return self.num_features is None or self.num_features >= self.num_classes
