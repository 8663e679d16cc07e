"""Unconstrained features with weight decay: the problem that the others are held against."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ncollapse.losses import (
    CrossEntropy,
    Focal,
    Labels,
    Loss,
    MeanSquaredError,
    RescaledSquaredError,
)
from ncollapse.theory.assumptions import EFFECTIVE, Measured, Premise
from ncollapse.theory.certificate import certify
from ncollapse.theory.problems.counted import MEMORY, PLAIN, Counted, check_loss, check_positive
from ncollapse.theory.problems.groups import groups_of
from ncollapse.theory.problems.point import Point
from ncollapse.theory.problems.problem import DESCENT, Formula, Found, Shapes, Solver, by_name
from ncollapse.theory.proof import Certificate

BIASES = ("none", "free")
EXACT = Formula("closed_form:closed_form")
CONVEX = Solver("convex", "unconstrained:certified")
NARROW = Solver("burer-monteiro", "unconstrained:narrow")
# A mean this far below zero, in units of the largest entry, cannot come out of a ReLU.
NEGATIVE = 1e-6
CONVEX_FORM = "Convex form in the class-mean logits (nuclear norm): derived, checked"
RELU = f"Dang et al. 2024, features after a ReLU {MEMORY}; form derived, checked"
# Who stated the optimum of balanced classes, by loss.
BALANCED: dict[type, tuple[str, ...]] = {
    CrossEntropy: (f"Zhu et al. 2021, global minimum {MEMORY}; explicit form derived",),
    Focal: (f"Zhou et al. 2022b, focal loss {MEMORY}; certificate derived",),
    MeanSquaredError: (f"Zhou et al. 2022, Tirer & Bruna 2022 {MEMORY}; form derived",),
    RescaledSquaredError: (f"Hui & Belkin 2021, the loss {MEMORY}; its optimum derived",),
}
# And of unequal ones: the published grids are of another loss than the rescaled.
MERGING = "Minority threshold: derived, checked"
GRIDS = (f"{MERGING}; agrees with the grids of Hong & Ling 2023 {MEMORY}",)
UNEQUAL: dict[type, tuple[str, ...]] = {
    RescaledSquaredError: (f"Hui & Belkin 2021, the loss {MEMORY}", MERGING)
}
# Losses for which the rank rule was tried.
TRIED = (CrossEntropy, MeanSquaredError)
RANKS = "Rank rule {m-1, m}: conjecture, not proven (600 of 600 random problems)"


@dataclass(frozen=True)
class UFM(Counted):
    """Unconstrained features with weight decay: W, H and b are free variables.

    loss: any of `ncollapse.losses`. weight_decay λ_W and feature_decay λ_H: positive. bias:
    "none", "free", or a number λ_b > 0. nonnegative: H ≥ 0 (features after a ReLU).
    Source: Zhu et al. 2021; Mixon et al. 2020; Fang et al. 2021.
    """

    weight_decay: float = 5e-4
    feature_decay: float = 1e-5
    loss: Loss = PLAIN
    bias: str | float = "free"
    nonnegative: bool = False

    settings: ClassVar = ("weight_decay", "feature_decay", "bias", "nonnegative")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "weight_decay", "feature_decay", advice=" (without decay use ULPM)")
        if isinstance(self.bias, str) and self.bias not in BIASES:
            raise ValueError(f"bias={self.bias!r}; 'none', 'free' or a number λ_b is needed")
        if not isinstance(self.bias, str) and not (self.bias > 0 and math.isfinite(self.bias)):
            raise ValueError(f"bias={self.bias}: λ_b must be positive; use 'free' for λ_b = 0")
        check_loss(self.loss, self.num_classes)

    @property
    def bias_decay(self) -> float | None:
        """λ_b: None without a bias, 0 for a free one."""
        if isinstance(self.bias, str):
            return None if self.bias == "none" else 0.0
        return float(self.bias)

    @property
    def tau(self) -> float:
        """τ = √(N λ_W λ_H): all that the logits depend on beside π and λ_b."""
        return math.sqrt(self.num_samples * self.weight_decay * self.feature_decay)

    @property
    def class_weights(self) -> tuple[float, ...]:
        """w_k, ones where the loss has none."""
        return self.loss.weight or (1.0,) * self.num_classes

    # ---- descent ------------------------------------------------------------------------------
    @property
    def has_bias(self) -> bool:
        return self.bias_decay is not None

    def shapes(self, rows: int, width: int) -> Shapes:
        found = super().shapes(rows, width)
        return [*found, (self.num_classes,)] if self.has_bias else found

    def units(self, copies: Tensor) -> tuple[float, Tensor]:
        """W = c V, h_k = g_k/(c √π_k) with c⁴ = N λ_H/λ_W turn f into
        Σ π_k ℓ(V g_k/√π_k + b) + τ/2 (‖V‖² + ‖G‖²) + λ_b/2 ‖b‖², the same for any N."""
        total = self.num_samples
        gain = (total * self.feature_decay / self.weight_decay) ** 0.25
        return gain, (total / copies).sqrt()[:, None] / gain

    def decays(self, point: Point, copies: Tensor | None) -> Iterator[Tensor]:
        yield self.weight_decay / 2 * point.weight.square().sum()
        yield self.feature_decay / 2 * point.feature_energy(copies)
        if self.bias_decay and point.bias is not None:
            yield self.bias_decay / 2 * point.bias.square().sum()

    def certify(self, point: Point, labels: Labels, copies: Tensor | None) -> Certificate:
        return certify(
            point.weight,
            point.features,
            labels,
            weight_decay=self.weight_decay,
            feature_decay=self.feature_decay,
            loss=self.loss,
            bias=point.bias,
            bias_decay=self.bias_decay,
            copies=copies,
        )

    # ---- what is said of it -------------------------------------------------------------------
    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "tau": self.tau}

    def sources(self) -> tuple[str, ...]:
        kind = type(self.loss)
        if self.nonnegative:
            return CONVEX_FORM, RELU
        if self.balanced:
            return CONVEX_FORM, *BALANCED.get(kind, ())
        ranks = () if self.rank_rule() is None else (RANKS,)
        return CONVEX_FORM, *UNEQUAL.get(kind, GRIDS), *ranks

    def premises(self) -> tuple[Premise, ...]:
        said = "the classifier has no bias"
        if self.bias_decay is not None:
            decay = f"with decay {self.bias_decay:g}" if self.bias_decay else "without decay"
            said = f"the classifier has a bias {decay}"
        bias = Premise(said, partial(_bias_holds, self))
        sign = Premise(
            "features are non-negative (after a ReLU)"
            if self.nonnegative
            else "features take both signs (no ReLU after the last layer)",
            partial(_sign_holds, self),
        )
        return *super().premises(), EFFECTIVE, bias, sign

    def notes(self, found: Found) -> list[str]:
        said = []
        if not self.logit_loss.convex and self.has_bias and found.status != "optimal":
            said.append(
                "focal loss with a bias has no certificate here: the answer is the best point "
                "found; bias='none' may have one"
            )
        width, required, rule = self.num_features, found.required_width, self.rank_rule()
        if width is not None and width < required:
            said.append(
                f"d = {width} is too narrow: {required} features lose nothing; thresholds are not "
                f"known at d = {width}"
            )
        wide = width is None or width >= self.num_classes
        if rule is not None and wide and not rule[0] <= found.rank <= rule[1]:
            said.append(
                f"the rank {found.rank} lies outside the conjectured {rule[0]} to {rule[1]}"
            )
        if found.rank == 0:
            said.append("the decay is so large that zero features are optimal: nothing is learnt")
        alone = self._alone()
        if alone and not self.nonnegative:
            said.append(
                f"{alone} classes are alone with their count: below the threshold they share a "
                "direction without coinciding (conjecture), so they have no merging threshold"
            )
        return said

    def _alone(self) -> int:
        """How many small classes have no twin, where counts differ."""
        return sum(1 for group in groups_of(self)[1:] if group.size == 1)

    # ---- how it is solved ---------------------------------------------------------------------
    @property
    def solvers(self) -> tuple[Solver, ...]:
        return (EXACT, DESCENT) if self.nonnegative else (EXACT, CONVEX, NARROW, DESCENT)

    def refusal(self, solver: str) -> str:
        if solver == "closed form":
            return super().refusal(solver)
        return (
            f'solver "{solver}" does not know H ≥ 0; use "auto" or "descent", or nonnegative=False'
        )

    # ---- thresholds ---------------------------------------------------------------------------
    @property
    def decay_product(self) -> float:
        return self.num_samples**2 * self.weight_decay * self.feature_decay

    def zero_threshold(self) -> float | None:
        """N ‖G₀‖₂², G₀ with columns √π_k w_k ∇ℓ_k at the best constant logits, any counts.

        None for H ≥ 0 and where it is not known for focal loss. Balanced cross-entropy: n (1-ε)²,
        that is λ_W λ_H = (1-ε)²/(n K²). Derived; checked numerically.
        """
        found = by_name("closed_form:zero_threshold")(self)
        return None if found is None else self.num_samples**2 * float(found)

    def merging_thresholds(self, members: Sequence[int]) -> list[float | None]:
        """By solving with each group held merged; None for H ≥ 0 and widths that may bind."""
        width = self.num_features
        if self.nonnegative or (width is not None and width < self.num_classes - 1):
            return [None] * len(members)
        found: list[float | None] = by_name("merging:merging_thresholds")(self, members)
        return found

    def rank_rule(self) -> tuple[int, int] | None:
        """{m - 1, m}, m = #{k: n_k w_k² (1-ε)² > N² λ_W λ_H}.

        A conjecture: it held in 600 of 600 random problems and is not proven. Classes of distinct
        small counts below the threshold do not coincide, but share a direction. None for focal
        loss, rescaled squared error, H ≥ 0 and scaled logits.
        """
        loss = self.logit_loss
        if type(loss) not in TRIED or self.nonnegative or loss.scale is not None:
            return None
        keep = (1 - loss.smoothing) ** 2
        pairs = zip(self.counts, self.class_weights, strict=True)
        alive = sum(count * weight**2 * keep > self.decay_product for count, weight in pairs)
        return (max(alive - 1, 0), alive)


def _bias_holds(problem: UFM, measured: Measured) -> bool | None:
    geometry = measured.geometry
    return None if geometry.weight is None else (geometry.bias is not None) == problem.has_bias


def _sign_holds(problem: UFM, measured: Measured) -> bool | None:
    means = measured.geometry.means
    if means is None:
        return None
    positive = float(means.min()) >= -NEGATIVE * float(means.abs().max())
    return positive == problem.nonnegative
