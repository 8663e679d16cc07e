"""Ordered grades read off one latent score: a cumulative link over free features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from ncollapse.links import CumulativeLink, check_link, check_thresholds, limits, spaced
from ncollapse.losses import Loss
from ncollapse.theory.assumptions import Premise
from ncollapse.theory.problems.counted import MEMORY, Counted, check_positive
from ncollapse.theory.problems.problem import Found, Shapes, Solver, by_name

MEAN_DECAY = Premise(
    "decay acts on features, a sample's share of it 1/N (networks decay weights: λ_h is effective)"
)


@dataclass(frozen=True)
class OrdinalUFM(Counted):
    """Ordinal unconstrained features: min over w (d) and H (d, N) of
    (1/N) Σ -log P(y_i|wᵀh_i) + λ_h/(2N) Σ ‖h_i‖² + λ_w/2 ‖w‖².

    counts: n_q of the grades, lowest first. link: logit, probit, cloglog or loglog. thresholds:
    Q + 1 finite numbers that increase, None for evenly spaced ones, 4 apart; with learn_thresholds
    the inner ones are free too, between the two ends. weight_decay λ_w, feature_decay λ_h (a mean
    over samples, so that λ_h is N times that of `UFM`): positive; positions depend on their product
    alone.

    Without h and ‖w‖ it is min_z Σ α_q ℓ_q(z_q) + √(λ_h λ_w) √(Σ α_q z_q²), α_q = n_q/N, which is
    convex, also in the thresholds (P is log-concave): so z* is unique, and ‖w*‖ =
    (λ_h/λ_w)^¼ (Σ α_q z_q*²)^¼. Raises ValueError for what does not serve.
    Source: Ma, Obuchi, Tanaka 2025; the convex form is derived.
    """

    link: str = "logit"
    thresholds: tuple[float, ...] | None = None
    learn_thresholds: bool = False
    weight_decay: float = 5e-4
    feature_decay: float = 5e-4

    settings: ClassVar = (
        "link", "thresholds", "learn_thresholds", "weight_decay", "feature_decay",
    )  # fmt: skip
    prediction: ClassVar = "ordinal:OrdinalPrediction"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_link(self.link)
        check_positive(self, "weight_decay", "feature_decay")
        given = self.thresholds
        ends = spaced(self.num_classes) if given is None else given
        object.__setattr__(self, "thresholds", check_thresholds(ends, self.num_classes))

    @classmethod
    def made(
        cls, counts: Sequence[int], loss: Loss, num_features: int | None, **settings: Any
    ) -> Counted:
        return cls(tuple(counts), num_features=num_features, **settings)

    @cached_property
    def loss(self) -> Loss:
        """-log P of the thresholds as they are given."""
        assert self.thresholds is not None
        return CumulativeLink(self.thresholds, self.link)

    @property
    def logit_loss(self) -> Any:
        """The same: a loss of one score, no loss of Q logits."""
        return self.loss

    @property
    def shares(self) -> Tensor:
        """α_q = n_q/N, (Q) float64."""
        counts = torch.tensor(self.counts, dtype=torch.float64)
        return counts / counts.sum()

    @property
    def ends(self) -> Tensor:
        """Thresholds as they are given, (Q + 1) float64."""
        return torch.tensor(self.thresholds, dtype=torch.float64)

    @property
    def strength(self) -> float:
        """√(λ_h λ_w), what multiplies √(Σ α z²)."""
        return math.sqrt(self.weight_decay * self.feature_decay)

    @property
    def limits(self) -> Tensor:
        """z⁰_q of the thresholds as they are given."""
        return limits(self.link, self.ends)

    # ---- thresholds of the decay ---------------------------------------------------------------
    @property
    def decay_product(self) -> float:
        """λ_h λ_w (not N² λ_W λ_H: features are decayed in the mean)."""
        return self.weight_decay * self.feature_decay

    def zero_threshold(self) -> float:
        """C = Σ α_q ℓ_q'(0)²: from λ_h λ_w = C on only w = 0, H = 0 is optimal."""
        return float(by_name("ordinal:phase_threshold")(self))

    # ---- what is said of it -------------------------------------------------------------------
    def describe(self) -> dict[str, Any]:
        loss = {"name": getattr(self.loss, "name", "")}
        return {**super().describe(), "task": "ordinal", "loss": loss}

    def sources(self) -> tuple[str, ...]:
        return (
            f"Ma, Obuchi, Tanaka 2025, ordinal collapse {MEMORY}",
            "Convex form in the positions, its two phases, the limits: derived, checked",
        )

    def premises(self) -> tuple[Premise, ...]:
        return *super().premises(), MEAN_DECAY

    def notes(self, found: Found) -> list[str]:
        if found.rank == 0:
            return [
                f"λ_h λ_w = {self.decay_product:.4g} lies at or above C = "
                f"{self.zero_threshold():.4g}: only w = 0 is optimal, and no grade is told apart"
            ]
        return []

    # ---- how it is solved ---------------------------------------------------------------------
    @property
    def solvers(self) -> tuple[Solver, ...]:
        return (Solver("convex", "ordinal:solve_ordinal"),)

    def shapes(self, rows: int, width: int) -> Shapes:
        raise ValueError(
            "ordinal grades leave one convex problem of Q positions; solve it with "
            "ncollapse.theory.solve instead of descent"
        )
