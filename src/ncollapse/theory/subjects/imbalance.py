"""When small classes merge: exact thresholds on the decay, per group of equal classes.

All thresholds are in one unit, N² λ_W λ_H, so that they can be read against the class counts.
Where the pull between two classes does not depend on the logits there is a formula; elsewhere the
threshold is searched for by solving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ncollapse.theory.problems.counted import PLAIN
from ncollapse.theory.problems.groups import Group, groups_of
from ncollapse.theory.problems.problem import Problem


@dataclass(frozen=True)
class Threshold:
    """Where a group's classifiers merge. value: the N² λ_W λ_H from which on they do in the
    solution, whatever the problem's own is; None where there is none or it is not known (see
    `minority_thresholds`). current: the problem's own. collapsed: of the solution."""

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


def merge_value(
    problem: Problem, group: Group, confidence: float | None = None, logit: float | None = None
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
        if loss != PLAIN or problem.has_bias:
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
    problem: Problem, collapsed: Sequence[int] = (), logits: Tensor | None = None
) -> tuple[Threshold, ...]:
    """One threshold for every group that has one, largest count first; none where the problem has
    no decays to count them in.

    By `merge_value` where that knows it. Focal loss, and rescaled squared error with a bias: the
    decay at which the solution changes, searched for by solving with the group held merged, to a
    millionth; for the focal loss that of its convex envelope, which the certified solver minimises.
    None there for H ≥ 0, for widths that bind and with more than 16 kinds of classes.

    collapsed: classes merged in the solution. logits: not needed any more; thresholds are a
    property of the problem, not of its solution.
    """
    merged = set(collapsed)
    current = problem.decay_product
    if current is None:
        return ()
    groups = groups_of(problem)
    values = {i: merge_value(problem, group) for i, group in enumerate(groups)}
    sought: list[int] = []
    if problem.logit_loss.pull() is None:
        sought = [i for i, group in enumerate(groups) if values[i] is None and group.size > 1]
        members = [groups[i].classes[0] for i in sought]
        values.update(zip(sought, problem.merging_thresholds(members), strict=True))
    return tuple(
        Threshold(group, values[i], current, all(k in merged for k in group.classes))
        for i, group in enumerate(groups)
        if values[i] is not None or i in sought
    )
