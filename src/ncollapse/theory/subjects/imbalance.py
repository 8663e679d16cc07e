"""When small classes merge: exact thresholds on the decay, per group of equal classes.

All thresholds are in one unit, N² λ_W λ_H, so that they can be read against the class counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ncollapse.losses import CrossEntropy, MeanSquaredError
from ncollapse.theory.problems.counted import PLAIN
from ncollapse.theory.problems.problem import Problem
from ncollapse.theory.problems.ufm import UFM

# Losses for which the rank rule was tried.
TRIED = (CrossEntropy, MeanSquaredError)


@dataclass(frozen=True)
class Group:
    """Classes that the problem cannot tell apart: equal count and equal loss parameters.

    classes: 0-based indices, ascending. scale: δ of vector scaling, 1 without.
    """

    classes: tuple[int, ...]
    count: int
    weight: float = 1.0
    scale: float = 1.0
    shift: float = 0.0

    @property
    def size(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class Threshold:
    """Where a group's classifiers merge. value: the N² λ_W λ_H from which on they do, None where
    it is not known in closed form; current: the problem's own; collapsed: of the solution."""

    group: Group
    value: float | None
    current: float
    collapsed: bool

    @property
    def factor(self) -> float | None:
        """current / value: below 1 the group stays apart, from 1 on it merges."""
        return None if not self.value else self.current / self.value

    def to_dict(self) -> dict[str, float | int | bool | None]:
        """The five keys of `predict --json`."""
        return {
            "count": self.group.count,
            "weight": self.group.weight,
            "value": self.value,
            "current": self.current,
            "collapsed": self.collapsed,
        }


def groups_of(problem: Problem) -> tuple[Group, ...]:
    """Groups of a problem, largest count first, then by first class."""
    loss, ones = problem.logit_loss, (1.0,) * problem.num_classes
    columns = [loss.weight or ones, loss.scale or ones, loss.shift or (0.0,) * len(ones)]
    found: dict[tuple[float, ...], list[int]] = {}
    for k, key in enumerate(zip(problem.counts, *columns, strict=True)):
        found.setdefault(key, []).append(k)
    made = [Group(tuple(index), int(key[0]), *key[1:]) for key, index in found.items()]
    return tuple(sorted(made, key=lambda group: (-group.count, group.classes[0])))


def merge_value(
    problem: UFM, group: Group, confidence: float | None = None, logit: float | None = None
) -> float | None:
    """The N² λ_W λ_H from which on a group of at least two classes merges.

    Cross-entropy (smoothed, weighted, logit-adjusted, scaled) and mean squared error:
    n_g w_g² δ_g² (1 - ε)², exact, for any other classes and with or without a bias: at equal
    logits the gradient on differences within the group is √π_g w_g δ_g (1 - ε), and there it must
    stay below τ. Focal loss: n_g w_g² ((1-p)^(γ-1) ((1-p) - γ p log p))² at the probability
    p = `confidence` of the merged classes, None without it. Rescaled squared error:
    n_g w_g² (κM - (κ-1) v)² at the common logit v = `logit` of the merged classes, which is 0
    without a bias; None with one, unless κ = 1 or v is passed. H ≥ 0 without bias: a class vanishes
    from n_k (K-1)/K on, alone or not. None for a group of one otherwise, and for widths that bind.

    Derived from the convex form of the problem; agrees with the threshold λ ≥ √n_B/N of Hong &
    Ling 2023 on their released grids (their text was not readable to us).
    """
    loss, width = problem.logit_loss, problem.num_features
    if problem.nonnegative:
        if loss != PLAIN or problem.bias != "none":
            return None
        return group.count * (problem.num_classes - 1) / problem.num_classes
    if group.size < 2 or (width is not None and width < problem.num_classes - 1):
        return None
    if not problem.has_bias:
        logit = 0.0
    pull = loss.pull(confidence=confidence, logit=logit)
    if pull is None:
        return None
    return float(group.count * group.weight**2 * group.scale**2 * pull**2)


def minority_thresholds(
    problem: UFM, collapsed: Sequence[int] = (), logits: Tensor | None = None
) -> tuple[Threshold, ...]:
    """One threshold for every group that has one, largest count first.

    collapsed: classes merged in the solution. logits: Z (K, K), column y of a sample of class y;
    only losses whose pull depends on them need them.
    """
    merged = set(collapsed)
    unknown = problem.logit_loss.pull() is None
    found = []
    for group in groups_of(problem):
        inside = all(k in merged for k in group.classes)
        confidence = logit = None
        if logits is not None and inside:
            k = group.classes[0]
            logit = float(logits[k, k])
            confidence = float(logits[:, k].softmax(0)[k])
        value = merge_value(problem, group, confidence, logit)
        if value is not None or (group.size > 1 and unknown):
            found.append(Threshold(group, value, problem.decay_product, inside))
    return tuple(found)


def zero_value(problem: UFM) -> float | None:
    """The N² λ_W λ_H from which on the only minimiser is zero (up to the bias): N ‖G₀‖₂².

    G₀ holds the columns √π_k w_k ∇ℓ_k at the best constant logits, any counts. None for H ≥ 0 and
    where it is not known for focal loss. Balanced cross-entropy: n (1-ε)², that is
    λ_W λ_H = (1-ε)²/(n K²). Derived; checked numerically.
    """
    from ncollapse.theory.solvers.closed_form import zero_threshold

    found = zero_threshold(problem)
    return None if found is None else problem.num_samples**2 * found


def rank_rule(problem: UFM) -> tuple[int, int] | None:
    """Conjectured range of the optimum's rank: {m - 1, m}, m = #{k: n_k w_k² (1-ε)² > N² λ_W λ_H}.

    A conjecture: it held in 600 of 600 random problems and is not proven. Classes of distinct
    small counts below the threshold do not coincide, but share a direction. None for focal loss,
    rescaled squared error, H ≥ 0 and scaled logits.
    """
    loss = problem.logit_loss
    if type(loss) not in TRIED or problem.nonnegative or loss.scale is not None:
        return None
    keep = (1 - loss.smoothing) ** 2
    pairs = zip(problem.counts, problem.class_weights, strict=True)
    alive = sum(count * weight**2 * keep > problem.decay_product for count, weight in pairs)
    return (max(alive - 1, 0), alive)
