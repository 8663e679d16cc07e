"""What to change so that no class merges: the least class weights, logit factors or decay.

Classes of one count n, weight w and logit factor δ merge from N² λ_W λ_H = n w² δ² (1-ε)² on
(`imbalance.merge_value`). Call n_k w_k² δ_k² (1-ε)² the strength of class k. Two facts, derived:

- Where the strength of every class exceeds N² λ_W λ_H no two classifier rows coincide at the
  optimum, whatever the counts. If rows i and j did, p_k(i) = c p_k(j) in every class k (a bias may
  make c ≠ 1), so that u = e_i - c e_j sees the columns of ∇F of i and j alone, and
  ‖uᵀ∇F‖²/‖u‖² is a mean of their strengths (over N), above τ²: no dual point, no optimum.
- Of all weights with Σ n_k w_k = N and w_k ≥ l_k, w_k = max(a, l_k) has the least ratio between
  largest and smallest, and the least Σ n_k f(w_k) for every convex f, the Kullback-Leibler
  divergence from the data's own class shares among them. (Any weights whose least is a' have
  N ≥ Σ n_k max(a', l_k), so a' ≤ a; the other from the conditions of optimality.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Float

from ncollapse.losses import CrossEntropy, Loss, named
from ncollapse.theory.predict import predict_problem
from ncollapse.theory.prediction import Prediction
from ncollapse.theory.problems.counted import Counted
from ncollapse.theory.problems.problem import Problem
from ncollapse.theory.problems.ufm import UFM

Array = np.ndarray
DIALS = ("weights", "logits", "decay")
ALL = "all"
MARGIN = 2.0


@dataclass(frozen=True, eq=False)
class Prescription:
    """The least change that keeps classes apart, and the certified optimum that it leads to.

    by: "weights", "logits" or "decay". weights: w_k with Σ n_k w_k = N, for
    `torch.nn.CrossEntropyLoss(weight=…)`, which normalises them so. factors: δ_k ≥ 1 of the logits
    before the loss. decay_factor: what to multiply both decays by. Those of other dials are None
    or 1. keep: classes to keep, 0-based. margin: N² λ_W λ_H may grow so many times before one of
    them merges. reach: the margin that weights cannot exceed. prediction: of the changed problem,
    whose `relative_gap` is the certificate. original: the problem that was passed.
    """

    by: str
    keep: tuple[int, ...]
    margin: float
    reach: float
    original: UFM
    prediction: Prediction
    weights: tuple[float, ...] | None = None
    factors: tuple[float, ...] | None = None
    decay_factor: float = 1.0

    @cached_property
    def strengths(self) -> Float[Array, " classes"]:
        """Per class n_k w_k² δ_k² (1-ε)² over N² λ_W λ_H of the changed problem: merged from 1
        down."""
        problem = self.prediction.problem
        assert isinstance(problem, UFM)
        return strengths(problem) / problem.decay_product

    @property
    def before(self) -> Float[Array, " classes"]:
        """`strengths` of the problem that was passed."""
        return strengths(self.original) / self.original.decay_product

    @property
    def needed(self) -> bool:
        """Whether anything had to be changed."""
        values = self.weights or self.factors or (self.decay_factor,)
        return any(abs(value - 1) > 1e-12 for value in values)

    @property
    def ratio(self) -> float:
        """Largest over smallest weight or factor, 1 for a change of decay."""
        values = self.weights or self.factors or (1.0,)
        return max(values) / min(values)

    @property
    def holds(self) -> bool:
        """Whether the optimum is certified and no kept class coincides with another one there."""
        merged = set(self.prediction.collapsed_classes) & set(self.keep)
        return self.prediction.solution.status == "optimal" and not merged

    @property
    def code(self) -> str:
        """Python to paste."""
        from ncollapse.theory.subjects.prescription_words import code

        return code(self)

    def to_dict(self) -> dict[str, Any]:
        """The document of the certified prediction, and `prescription`."""
        return {
            **self.prediction.to_dict(),
            "prescription": {
                "by": self.by,
                "keep": list(self.keep),
                "margin": self.margin,
                "reach": self.reach,
                "needed": self.needed,
                "holds": self.holds,
                "weights": None if self.weights is None else list(self.weights),
                "factors": None if self.factors is None else list(self.factors),
                "decay_factor": self.decay_factor,
                "ratio": self.ratio,
                "strengths_before": self.before.tolist(),
                "strengths": self.strengths.tolist(),
                "code": self.code,
                "status": self.prediction.solution.status,
                "relative_gap": self.prediction.relative_gap,
                "rank": self.prediction.rank,
                "smallest_margin": float(self.prediction.logit_margins.min()),
            },
        }

    def __str__(self) -> str:
        from ncollapse.theory.subjects.prescription_words import render

        return render(self)


def prescribe(
    counts: Sequence[int],
    *,
    keep: str | Sequence[int] = ALL,
    margin: float = MARGIN,
    by: str = "weights",
    loss: str | Loss = "ce",
    weight_decay: float | None = None,
    feature_decay: float | None = None,
    bias: str | float | None = None,
    num_features: int | None = None,
    tolerance: float = 1e-8,
    **loss_parameters: Any,
) -> Prescription:
    """The least re-weighting, logit factor or decay that keeps classes from merging, certified.

    counts, loss, decays, bias, width, tolerance: as in `predict`. keep: "all", or 0-based classes.
    margin: how many times N² λ_W λ_H may grow before a kept class merges, above 1. by:

    - "weights": class weights w_k = max(a, √(margin N² λ_W λ_H / n_k)/(1-ε)) with Σ n_k w_k = N,
      of all that keep these classes those with the least ratio of largest to smallest, and the
      nearest to the data's class shares in Kullback-Leibler divergence.
    - "logits": factors δ_k ≥ 1 that multiply logits before the loss (class-dependent temperature).
      Adding to logits instead moves no threshold, so that no additive adjustment is offered.
    - "decay": one factor for both decays.

    The changed problem is solved, and its gap certified. For plain cross-entropy and every class
    kept it is proven that no two rows of the classifier coincide there (derived, see the module);
    with smoothing, a free bias and unequal counts that is checked at the solution alone.

    Raises ValueError for an unknown keyword or class, margin ≤ 1, losses whose threshold depends
    on where classes end, a loss that has class weights already, widths below K - 1, features after
    a ReLU, and where no weights suffice: Σ n_k w_k = N needs
    margin N² λ_W λ_H ≤ (1-ε)² (N / Σ √n_k)² over kept classes.

    >>> prescribe([150] * 5 + [5] * 5, weight_decay=3e-3, feature_decay=8e-3).ratio > 1
    True
    """
    sizes = tuple(counts)
    Counted(sizes)
    known = named(loss, sizes, **loss_parameters) if isinstance(loss, str) else loss
    given: dict[str, Any] = {
        "weight_decay": weight_decay,
        "feature_decay": feature_decay,
        "bias": bias,
        "num_features": num_features,
    }
    given = {name: value for name, value in given.items() if value is not None}
    problem = UFM(sizes, loss=known, **given)
    return prescribe_for(problem, keep=keep, margin=margin, by=by, tolerance=tolerance)


def prescribe_for(
    problem: Problem,
    *,
    keep: str | Sequence[int] = ALL,
    margin: float = MARGIN,
    by: str = "weights",
    tolerance: float = 1e-8,
) -> Prescription:
    """`prescribe` of a problem that is there already: `Prediction.prescribe`."""
    if by not in DIALS:
        raise ValueError(f"by={by!r} is unknown; one of {', '.join(DIALS)} is needed")
    if not (margin > 1 and math.isfinite(margin)):
        raise ValueError(f"margin={margin}; a number above 1 is needed, for at 1 a class merges")
    known = _checked(problem, by)
    kept = _kept(keep, known.num_classes)
    reach = reach_of(known, kept)
    # The strength that a class has to have.
    wanted = margin * known.decay_product
    own = strengths(known)
    changed: dict[str, Any] = {}
    loss = known.loss
    if by == "decay":
        factor = min(1.0, math.sqrt(float(own[list(kept)].min()) / wanted))
        changed["decay_factor"] = factor
        after = replace(
            known,
            weight_decay=factor * known.weight_decay,
            feature_decay=factor * known.feature_decay,
        )
    else:
        assert isinstance(loss, CrossEntropy)
        least = np.zeros(known.num_classes)
        least[list(kept)] = np.sqrt(wanted / own[list(kept)])
        if by == "weights":
            found = tuple(least_weights(known.counts, least, lambda: _refusal(known, kept, margin)))
            changed["weights"] = found
            after = replace(known, loss=replace(loss, weight=found))
        else:
            found = tuple(np.maximum(least, 1.0).tolist())
            changed["factors"] = found
            own_scale = loss.scale or (1.0,) * len(found)
            scale = tuple(a * b for a, b in zip(own_scale, found, strict=True))
            after = replace(known, loss=replace(loss, scale=scale))
    prediction = predict_problem(after, tolerance)
    return Prescription(by, kept, float(margin), reach, known, prediction, **changed)


def strengths(problem: UFM) -> Float[Array, " classes"]:
    """n_k w_k² δ_k² pull²: the N² λ_W λ_H from which on class k merges with its like."""
    loss = problem.logit_loss
    pull = loss.pull(logit=None if problem.has_bias else 0.0)
    assert pull is not None
    ones = np.ones(problem.num_classes)
    weight = ones if loss.weight is None else np.array(loss.weight)
    scale = ones if loss.scale is None else np.array(loss.scale)
    found: Array = np.array(problem.counts) * (weight * scale * pull) ** 2
    return found


def reach_of(problem: UFM, kept: Sequence[int]) -> float:
    """The margin that no class weights exceed: (N / Σ √(n_k/s_k) √n_k)² / (N² λ_W λ_H), s_k the
    strength of class k at weight 1; for plain cross-entropy (N / Σ √n_k)² over N² λ_W λ_H."""
    own, count = strengths(problem)[list(kept)], np.array(problem.counts)[list(kept)]
    return float((problem.num_samples / (count / np.sqrt(own)).sum()) ** 2 / problem.decay_product)


def least_weights(counts: Sequence[int], least: Array, refusal: Any = None) -> list[float]:
    """w_k = max(a, least_k) with Σ n_k w_k = N. Raises ValueError (with the sentence of `refusal`)
    where Σ n_k least_k exceeds N or leaves no positive weight."""
    size = np.array(counts, dtype=np.float64)
    order = np.argsort(least, kind="stable")
    n, low = size[order], least[order]
    # a if the first j of them stand at a and the others at their own.
    beyond = np.concatenate([np.cumsum((n * low)[::-1])[::-1][1:], [0.0]])
    levels = (size.sum() - beyond) / np.cumsum(n)
    inside = np.flatnonzero(levels >= low * (1 - 1e-12))
    if not len(inside) or levels[inside[-1]] <= 0:
        raise ValueError(refusal() if refusal else "these least weights add up to more than N")
    found: list[float] = np.maximum(levels[inside[-1]], least).tolist()
    return found


def _refusal(problem: UFM, kept: Sequence[int], margin: float) -> str:
    """Why no class weights do, in one sentence."""
    reach, current = reach_of(problem, kept), problem.decay_product
    who = "every class" if len(kept) == problem.num_classes else f"these {len(kept)} classes"
    advice = f"ask for a margin up to {reach:.3g} or " if reach > 1 else ""
    return (
        f"no class weights keep {who} at margin {margin:g}: normalised to Σ n_k w_k = N they allow "
        f"N² λ_W λ_H up to (1-ε)² (N / Σ √n_k)² = {reach * current:.3g} over the margin, and it is "
        f"{current:.3g}; {advice}multiply both decays by at most {math.sqrt(reach / margin):.3g}"
    )


def _kept(keep: str | Sequence[int], num_classes: int) -> tuple[int, ...]:
    if isinstance(keep, str):
        if keep != ALL:
            raise ValueError(f"keep={keep!r}; 'all' or 0-based classes, such as [3, 5], are needed")
        return tuple(range(num_classes))
    if not isinstance(keep, Iterable) or not all(isinstance(k, Integral) for k in keep):
        raise ValueError(
            f"keep={keep!r}; 'all' or a list of classes 0 to {num_classes - 1} is needed"
        )
    found = tuple(sorted({int(k) for k in keep}))
    if not found or found[0] < 0 or found[-1] >= num_classes:
        raise ValueError(
            f"keep={list(keep)}; 'all' or classes from 0 to {num_classes - 1} are needed"
        )
    return found


def _checked(problem: Problem, by: str) -> UFM:
    """The problem, if its thresholds have a formula that the dial moves."""
    if not isinstance(problem, UFM) or problem.nonnegative:
        kind = "features after a ReLU" if isinstance(problem, UFM) else type(problem).__name__
        raise ValueError(
            f"{kind}: no prescription is known there; the thresholds are those of model='ufm' with "
            "nonnegative=False, which is needed"
        )
    width, loss = problem.num_features, problem.logit_loss
    if width is not None and width < problem.num_classes - 1:
        raise ValueError(
            f"num_features={width} is too narrow to keep {problem.num_classes} classes apart; at "
            f"least {problem.num_classes - 1} is needed"
        )
    if loss.pull(logit=None if problem.has_bias else 0.0) is None:
        raise ValueError(
            f"the threshold of the {loss.name} depends on where classes end, so that nothing is "
            "prescribed for it; take cross-entropy, or read predict(…).minority_threshold"
        )
    if by != "decay" and not isinstance(loss, CrossEntropy):
        raise ValueError(
            f'by="{by}" is for cross-entropy, and the loss is {loss.name}; pass by="decay" for it'
        )
    if by == "weights" and loss.weight is not None:
        raise ValueError(
            "the loss has class weights already; pass it without them, or take by='logits' or "
            "by='decay'"
        )
    return problem
