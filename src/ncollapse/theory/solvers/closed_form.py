"""Unconstrained features with a formula for the optimum.

`closed_form(problem)` returns the exact solution or None. τ = √(N λ_W λ_H), c = τ/√K = √(n λ_W λ_H)
for n samples in each of K classes; margins a, logits Z = a (I - 11ᵀ/K) unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq

from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError, RescaledSquaredError
from ncollapse.theory.problems.ufm import UFM
from ncollapse.theory.proof import Certificate
from ncollapse.theory.solution import Solution
from ncollapse.theory.solvers.blocks import Groups
from ncollapse.theory.solvers.forms.focal import GroupedFocal
from ncollapse.theory.solvers.readout import (
    Found,
    direct_solution,
    gain_of,
    geometry,
    relaxation_of,
    solution_of,
)
from ncollapse.theory.solvers.relaxation import Point, Relaxation

Array = np.ndarray


def closed_form(problem: UFM) -> Solution | None:
    """The exact optimum, or None where no formula is known.

    Covers balanced cross-entropy with any label smoothing and bias; balanced focal loss while p_y
    stays in the convex part; mean squared error with balanced classes and any bias or any counts
    with a free bias or none, also for widths below its rank; rescaled squared error without a
    bias, and balanced with a free one; cross-entropy with H ≥ 0, no bias.
    """
    if problem.nonnegative:
        return _nonnegative(problem)
    known = BY_LOSS.get(type(problem.loss))
    return None if known is None else known(problem, problem.loss)


def _too_narrow(problem: UFM, rank: int) -> bool:
    return problem.num_features is not None and problem.num_features < rank


def _exact(
    problem: UFM,
    relaxed: Relaxation,
    point: Point,
    statement: str,
    kept: int | None = None,
    beyond: float = 0.0,
) -> Solution:
    """A solution that is its own lower bound; beyond: what a narrow width costs."""
    value = relaxed.exact_objective(point) + beyond
    certificate = Certificate(value, "closed form", statement)
    found = Found(relaxed, point, value, certificate, "optimal", "closed form", kept=kept)
    return solution_of(problem, found, gain_of(problem))


# ---- simplices ----------------------------------------------------------------------------------
def _cross_entropy(problem: UFM, loss: CrossEntropy) -> Solution | None:
    if loss != CrossEntropy(loss.smoothing) or not _holds_simplex(problem):
        return None
    K = problem.num_classes
    pull = problem.tau / math.sqrt(K) + loss.smoothing / K
    margin = math.log(1 / pull - K + 1) if pull * K < 1 else 0.0
    return _simplex(
        problem,
        margin,
        "Simplex with margin log(1/(c + ε/K) - K + 1), zero if that is negative: the "
        "minimum of the convex form at equal counts (Zhu et al. 2021).",
    )


def _focal(problem: UFM, loss: Focal) -> Solution | None:
    if loss.weight is not None or not _holds_simplex(problem):
        return None
    margin = _focal_margin(problem, loss)
    if margin is None:
        return None
    return _simplex(
        problem,
        margin,
        "Simplex whose margin solves ψ'(log(K - 1) - a) = c (K - 1); p_y lies where the "
        "focal loss equals its convex envelope, so that the minimum is global.",
    )


def _holds_simplex(problem: UFM) -> bool:
    return problem.balanced and not _too_narrow(problem, problem.num_classes - 1)


def _simplex(problem: UFM, margin: float, statement: str) -> Solution:
    relaxed = relaxation_of(problem)
    bias = None if problem.bias_decay is None else np.zeros(1)
    point = Point(np.array([margin * relaxed.root[0]]), np.zeros((1, 1)), bias)
    return _exact(problem, relaxed, point, statement)


def _focal_margin(problem: UFM, loss: Focal) -> float | None:
    """None where the minimiser leaves the part on which the envelope equals the loss."""
    K = problem.num_classes
    form, origin = GroupedFocal(loss.gamma, Groups.of(problem.counts)), math.log(K - 1)
    level = problem.tau / math.sqrt(K) * (K - 1)
    # Beyond its end the envelope is affine with slope 1.
    origin_slope = 1.0 if origin > form.end else form.slope_at(origin)
    if level >= origin_slope:
        return 0.0 if origin <= form.end else None
    low = -700.0 / (loss.gamma + 1)
    start = min(origin, form.end)
    root = brentq(lambda s: form.slope_at(s) - level, low, start, xtol=1e-15)
    return float(origin - root)


# ---- mean squared error -------------------------------------------------------------------------
def _squares(problem: UFM, loss: MeanSquaredError) -> Solution | None:
    """Thresholded singular values of the targets; a width keeps the largest (Zhou et al. 2022)."""
    if loss.weight is not None:
        return None
    relaxed = relaxation_of(problem)
    groups, tau = relaxed.groups, problem.tau
    share = groups.counts / groups.num_samples
    spread = np.where(groups.several, np.sqrt(share), 0.0)
    core = np.diag(np.sqrt(share))
    statement = (
        "Each class's logit is (1 - N √(λ_W λ_H/n_k)) or 0: an orthogonal frame, "
        "the thresholded singular values of the targets."
    )
    decay = problem.bias_decay
    if decay == 0:
        core = core - np.outer(np.sqrt(groups.sizes) * share, np.sqrt(groups.sizes * share))
        statement = (
            "Thresholded singular values of the targets with the mean taken out by the bias."
        )
    elif decay is not None:
        return _balanced_squares_with_decayed_bias(problem, relaxed, decay)
    left, values, right = np.linalg.svd(core)
    inside = np.repeat(spread, (groups.sizes - 1).astype(int))
    excess = np.sort(np.maximum(np.concatenate([values, inside]) - tau, 0.0))[::-1]
    beyond, kept = 0.0, None
    if _too_narrow(problem, int((excess > 0).sum())):
        kept = problem.num_features
        beyond = 0.5 * float((excess[kept:] ** 2).sum())
        statement += f" Width {kept} keeps the {kept} largest."
    core = (left * np.maximum(values - tau, 0.0)) @ right
    bias = None
    if decay == 0:
        # b = mean target - mean logit; A √π = 0.
        bias = share
    point = Point(np.maximum(spread - tau, 0.0), core, bias)
    return _exact(problem, relaxed, point, statement, kept, beyond)


def _balanced_squares_with_decayed_bias(
    problem: UFM, relaxed: Relaxation, decay: float
) -> Solution | None:
    """Z = a (I - 11ᵀ/K) + g 11ᵀ/K: from an orthogonal frame (λ_b → ∞) to a simplex (λ_b → 0)."""
    K = problem.num_classes
    if not problem.balanced or _too_narrow(problem, K):
        return None
    pull = problem.tau * math.sqrt(K)
    a = max(1 - pull, 0.0)
    g = max(1 - pull * (1 + 1 / decay), 0.0)
    root = relaxed.root[0]
    bias = np.array([(1 - g) / K / (1 + decay)])
    point = Point(np.array([a * root]), np.array([[g * root]]), bias)
    return _exact(
        problem,
        relaxed,
        point,
        "Z = a (I - 11ᵀ/K) + g 11ᵀ/K with a = (1 - cK)₊ and g = (1 - cK (1 + 1/λ_b))₊; a simplex "
        "exactly when λ_b ≤ cK/(1 - cK).",
    )


# ---- rescaled squared error ---------------------------------------------------------------------
def _rescaled_squares(problem: UFM, loss: RescaledSquaredError) -> Solution | None:
    """Diagonal logits without a bias, any counts and weights; a simplex for balanced classes with a
    free one. Derived: both meet the optimality condition of the convex form."""
    if problem.bias_decay is None:
        return _diagonal_squares(problem, loss)
    K = problem.num_classes
    uniform = problem.balanced and loss.weight is None
    if problem.bias_decay != 0 or not uniform or _too_narrow(problem, K - 1):
        return None
    relaxed = relaxation_of(problem)
    pull = problem.tau / math.sqrt(K)
    kappa, level = loss.factor, loss.target
    margin = level - pull * (1 + (K - 1) / kappa)
    # κ (u - M) + (K - 1) v = 0 for own logits u and others v: the bias is free.
    rest = pull if margin > 0 else kappa * level / (kappa + K - 1)
    margin = max(margin, 0.0)
    point = Point(
        np.array([margin * relaxed.root[0]]), np.zeros((1, 1)), np.array([rest + margin / K])
    )
    return _exact(
        problem,
        relaxed,
        point,
        "Simplex with margin (M - c (1 + (K - 1)/κ))₊: at equal counts the minimum of the convex "
        "form treats classes alike (derived).",
    )


def _diagonal_squares(problem: UFM, loss: RescaledSquaredError) -> Solution | None:
    """A = diag(a), a_k = (√π_k M - τ/(κ w_k))₊. Its gradient is diagonal too, -τ where a_k > 0 and
    of modulus √π_k w_k κ M ≤ τ elsewhere: within τ ∂|A|_*, so that A is optimal."""
    relaxed = relaxation_of(problem)
    groups = relaxed.groups
    cut = problem.tau / (loss.factor * groups.weight)
    values = np.maximum(np.sqrt(groups.counts / groups.num_samples) * loss.target - cut, 0.0)
    if _too_narrow(problem, int(groups.sizes @ (values > 0))):
        return None
    point = Point(np.where(groups.several, values, 0.0), np.diag(values), None)
    return _exact(
        problem,
        relaxed,
        point,
        "Own logits (M - τ/(κ w_k √π_k))₊ and no others: the gradient is diagonal and its spectral "
        "norm is at most τ (derived).",
    )


# ---- cross-entropy with H ≥ 0 -------------------------------------------------------------------
def _nonnegative(problem: UFM) -> Solution | None:
    """Orthogonal features; class k vanishes iff n_k ≤ N² λ_W λ_H K/(K - 1) (Dang et al. 2024)."""
    if problem.loss != CrossEntropy() or problem.bias != "none":
        return None
    K, N = problem.num_classes, problem.num_samples
    counts = np.array(problem.counts, dtype=np.float64)
    decays = problem.weight_decay * problem.feature_decay
    pull = np.sqrt(counts * K * (K - 1) / decays) / N - (K - 1)
    margins = np.log(np.maximum(pull, 1.0))
    alive = np.flatnonzero(margins > 0)
    if _too_narrow(problem, len(alive)):
        return None
    cost = np.sqrt(decays * counts * (K - 1) / K)
    value = float((counts / N) @ np.logaddexp(0, math.log(K - 1) - margins) + cost @ margins)
    lengths = np.sqrt(
        margins * np.sqrt(problem.weight_decay * (K - 1) / (problem.feature_decay * K * counts))
    )
    means = np.diag(lengths)[:, alive]
    weight = (np.eye(K) - 1 / K)[:, alive] * (margins[alive] / lengths[alive])
    if not len(alive):
        means = weight = np.zeros((K, 1))
    width = problem.num_features or max(K, 1)
    return direct_solution(
        problem,
        made=geometry(problem, means, weight, None, width),
        status="optimal",
        objective=value,
        certificate=Certificate(
            value,
            "closed form",
            "Nonnegative features of different classes are orthogonal; each margin solves "
            "its own scalar equation (Dang et al. 2024).",
        ),
        solver="closed form",
    )


BY_LOSS: dict[type, Callable[[UFM, Any], Solution | None]] = {
    CrossEntropy: _cross_entropy,
    Focal: _focal,
    MeanSquaredError: _squares,
    RescaledSquaredError: _rescaled_squares,
}


def zero_threshold(problem: UFM) -> float | None:
    """Smallest λ_W λ_H from which on W = H = 0 is optimal, exactly.

    ‖∇F‖₂² / N at equal logits with the best bias: 1/(n K²) for balanced cross-entropy. None for
    H ≥ 0 and where the focal loss at equal logits is not its convex envelope. No finite width
    changes it.
    """
    if problem.nonnegative:
        return None
    relaxed = relaxation_of(problem)
    own, others = relaxed.logits(relaxed.vanished())
    if not np.allclose(relaxed.form.exact(own, others), relaxed.form.value(own, others)):
        return None
    return relaxed.vanishing() ** 2 / problem.num_samples
