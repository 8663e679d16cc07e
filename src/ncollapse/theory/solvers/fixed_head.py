"""A classifier that is given and never trained: only features are free.

For a fixed W every sample has a problem of its own, the same for all samples of a class:

    φ_k(h) = w_k ℓ(W h + b, k) + μ/2 ‖h‖²,  f = Σ_k π_k min φ_k,

with ‖h‖² ≤ E_H and μ = 0, or with decay μ = N λ_H (ℓ/N + λ_H/2 ‖h‖² a sample). So class counts
move the value and not the geometry, and for a convex loss each φ_k bounds itself: by the
Frank-Wolfe gap ∇·h + √E_H ‖∇‖ in the ball, by ‖∇‖²/(2μ) with decay (strong convexity). The focal
loss is an increasing function of the convex s = log Σ_{j≠y} e^{z_j} - z_y: in the ball it has the
minimisers of cross-entropy and the bound on s bounds it too; with decay its convex envelope serves.
Derived here; the dot regression that made fixed heads known is of Yang et al. 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import brentq

from ncollapse.geometry import Geometry
from ncollapse.theory.problems.fixed_head import FixedHead
from ncollapse.theory.problems.problem import Ask
from ncollapse.theory.proof import Certificate, relative_gap
from ncollapse.theory.solution import RANK_CUT, Solution
from ncollapse.theory.solvers.blocks import Groups, complement_of_ones
from ncollapse.theory.solvers.convex import one_thread
from ncollapse.theory.solvers.fixed_newton import (
    ClassProblems,
    ball_gap,
    full_gradient,
    minimize_classes,
    spread_out,
)
from ncollapse.theory.solvers.forms.gap import GroupedGap
from ncollapse.theory.solvers.grouped import grouped, sole
from ncollapse.theory.solvers.readout import direct_solution

Array = np.ndarray
# Singular values below this share of the largest do not count as directions of the head.
SEEN = 1e-12
# Newton's method goes on until the gap is this share of what was asked.
SHARPER = 1e-3
SLOWEST = 200
# Of objectives below it, rounding may hide the last digits.
SMALL = 1e-6
# Squares of residuals that are rounding errors, as a share of the loss at zero logits, are zero.
NOTHING = 1e-29


@dataclass(frozen=True, eq=False)
class _Head:
    """W (K, d) and b (K) of a problem with what its loss sees of them: `rows`, W centred over
    classes where a common shift of all logits changes nothing."""

    weight: Float[Array, "classes dim"]
    bias: Float[Array, " classes"] | None
    rows: Float[Array, "classes dim"]

    @property
    def offset(self) -> Array:
        return np.zeros(len(self.weight)) if self.bias is None else self.bias


def in_closed_form(problem: FixedHead, ask: Ask) -> Solution | None:
    """Class features where one number a class is all that is left to find, else None."""
    head = _head(problem)
    with one_thread():
        features = _formula(problem, head)
        return None if features is None else _concluded(problem, head, features, ask)


def numerically(problem: FixedHead, ask: Ask) -> Solution:
    """Class features by Newton's method."""
    head = _head(problem)
    with one_thread():
        features, used = _numerical(problem, head, ask)
        return _concluded(problem, head, features, ask, used)


def _concluded(
    problem: FixedHead, head: _Head, features: Array, ask: Ask, used: int | None = None
) -> Solution:
    """The solution of class features, by formula unless iterations were used."""
    value, bound = bounds(problem, head.weight, head.offset, features)
    status, advice = _judged(problem, value, bound, ask.tolerance)
    made = Geometry(
        means=torch.from_numpy(np.ascontiguousarray(features.T)),
        weight=torch.from_numpy(head.weight),
        bias=None if head.bias is None else torch.from_numpy(head.bias),
        counts=torch.tensor(problem.counts),
    )
    kind = "closed form" if used is None else "convexity"
    return direct_solution(
        problem,
        made=made,
        status=status,
        objective=value,
        certificate=Certificate(min(bound, value), kind, _statement(problem)),
        solver="closed form" if used is None else "convex",
        advice=advice,
        iterations=used or 0,
        extra={
            "required_width": max(_rank(head.weight), 1),
            "notes": _notes(problem, head, features),
        },
    )


def _head(problem: FixedHead) -> _Head:
    K, bias = problem.num_classes, None
    if problem.given is not None:
        assert problem.given.weight is not None
        weight = problem.given.weight.detach().cpu().numpy().copy()
        if problem.given.bias is not None:
            bias = problem.given.bias.detach().cpu().numpy().copy()
    else:
        assert problem.weight_energy is not None
        unit = np.eye(K)
        if problem.head == "simplex":
            unit = math.sqrt(K / (K - 1)) * complement_of_ones(K)
        weight = math.sqrt(problem.weight_energy) * unit
        missing = (problem.num_features or weight.shape[1]) - weight.shape[1]
        weight = np.pad(weight, ((0, 0), (0, missing)))
    shifted = problem.logit_loss.softmax and problem.logit_loss.scale is None
    return _Head(weight, bias, weight - weight.mean(0) if shifted else weight)


def _rank(rows: Array) -> int:
    return int(np.linalg.matrix_rank(rows, tol=RANK_CUT * float(np.linalg.norm(rows, 2))))


# ---- lower bounds -------------------------------------------------------------------------------
def bounds(
    problem: FixedHead,
    weight: Float[Array, "classes dim"],
    bias: Float[Array, " classes"],
    features: Float[Array, "dim classes"],
) -> tuple[float, float]:
    """f at class features (as columns) and a lower bound on f over all features.

    Losses are at least 0, so that 0 is a bound too. Squared losses that reach their targets to
    within rounding are 0.
    """
    share = np.array(problem.counts) / problem.num_samples
    omega = np.array(problem.logit_loss.weight or (1.0,) * problem.num_classes)
    logits = weight @ features + bias[:, None]
    squares = (features**2).sum(0)
    decay = problem.effective_decay
    form, own = sole(problem.logit_loss, problem.num_classes), np.diagonal(logits)
    exact = form.exact(own, logits)
    if not problem.logit_loss.softmax:
        exact = np.where(exact <= NOTHING * form.exact(0 * own, 0 * logits), 0.0, exact)
    value = float(share @ (omega * exact + 0.5 * decay * squares))
    if decay > 0:
        gradient = omega * (weight.T @ full_gradient(form, logits)) + decay * features
        slack = (gradient**2).sum(0) / (2 * decay)
        below = omega * form.value(own, logits) + 0.5 * decay * squares - slack
        return value, max(float(share @ below), 0.0)
    by_own, by_others = form.order_gradient(own, logits)
    gap = ball_gap(features, weight.T @ spread_out(by_own, by_others), problem.radius)
    return value, max(float(share @ (omega * form.lowered(own, logits, gap))), 0.0)


# ---- closed forms -------------------------------------------------------------------------------
def _formula(problem: FixedHead, head: _Head) -> Array | None:
    """Features (d, K), or None."""
    loss = problem.logit_loss
    if not loss.sees_others:
        return _along_own_rows(problem, head, loss)
    if problem.given is not None or loss.scale is not None or loss.shift is not None:
        return None
    return _on_a_frame(problem, head)


def _along_own_rows(problem: FixedHead, head: _Head, loss: Any) -> Array:
    """Dot regression sees w_y·h alone: h = t w_y/‖w_y‖ with the least |t| that serves."""
    lengths = np.linalg.norm(head.weight, axis=1)
    safe = np.maximum(lengths, 1e-300)
    wanted = loss.target - head.offset
    if problem.effective_decay > 0:
        omega = np.array(loss.weight or (1.0,) * problem.num_classes)
        pull = omega * lengths
        t = pull * wanted / (pull * lengths + problem.effective_decay * loss.target)
    else:
        t = np.clip(wanted / safe, -problem.radius, problem.radius)
    return np.asarray(np.where(lengths > 0, t / safe, 0.0) * head.weight.T)


def _on_a_frame(problem: FixedHead, head: _Head) -> Array:
    """A frame and a loss that treat other classes alike: by symmetry and convexity the logits of
    others agree, so that h is along the row (centred where the loss does not see a shift)."""
    K = problem.num_classes
    direction = head.rows / np.linalg.norm(head.rows, axis=1, keepdims=True)
    aligned = head.weight[:2] @ direction[0]
    own, others = aligned[:1], aligned[1:].reshape(1, 1)
    form = grouped(problem.logit_loss, Groups.of((1,) * K))
    decay = problem.effective_decay

    def slope(t: float, omega: float) -> float:
        _, by_own, by_others = form.gradient(t * own, t * others)
        along = float(by_own @ own + by_others[0] @ others[0])
        return omega * along + decay * t

    def length(omega: float) -> float:
        high = problem.radius if decay == 0 else 1.0
        while slope(high, omega) < 0:
            if decay == 0:
                return high
            high *= 2
        return float(brentq(slope, 0.0, high, args=(omega,), xtol=1e-300, rtol=1e-15))

    weights = problem.logit_loss.weight or (1.0,) * K
    known = {omega: length(omega) for omega in set(weights)}
    return np.asarray(direction.T * np.array([known[omega] for omega in weights]))


# ---- any head -----------------------------------------------------------------------------------
def _numerical(problem: FixedHead, head: _Head, ask: Ask) -> tuple[Array, int]:
    """Features (d, K) by Newton's method within what the loss sees of the head's row space."""
    left, values, right = np.linalg.svd(head.rows, full_matrices=False)
    seen = values > SEEN * max(float(values[0]), 1e-300)
    rows, basis = left[:, seen] * values[seen], right[seen]
    loss = problem.logit_loss if problem.effective_decay > 0 else problem.logit_loss.same_order
    classes = ClassProblems(
        rows=rows,
        bias=head.offset,
        form=sole(loss, problem.num_classes),
        weight=np.array(problem.logit_loss.weight or (1.0,) * problem.num_classes),
        decay=problem.effective_decay,
        radius=problem.radius,
    )
    most = min(ask.max_iterations, SLOWEST)
    goal = SHARPER * ask.tolerance
    found, used = minimize_classes(classes, _start(classes), goal, most)
    if classes.decay == 0 and loss.softmax and not loss.smoothing and _worst(classes, found) > goal:
        # The loss is all but flat far out in a large ball; what it increases with is not.
        groups = Groups.of((1,) * problem.num_classes, None, loss.scale, loss.shift, merge=False)
        ordered = replace(classes, form=GroupedGap(groups), weight=np.ones_like(classes.weight))
        found, more = minimize_classes(ordered, found, goal, most)
        used += more
    return np.asarray(basis.T @ found), used


def _worst(classes: ClassProblems, features: Array) -> float:
    """The largest share of its value by which a class may lie above its minimum."""
    logits = classes.logits(features)
    gaps = classes.gaps(features, classes.gradient(features, logits))
    return float(classes.shares(gaps, classes.values(logits, (features**2).sum(0))).max())


def _start(classes: ClassProblems) -> Array:
    """Every class along its own row, at the best of a few lengths."""
    rows = classes.rows
    norms = np.linalg.norm(rows, axis=1)
    unit = np.where(norms > 0, 1 / np.maximum(norms, 1e-300), 0.0) * rows.T
    logits = rows @ unit
    lengths = [0.0, *(2.0 ** np.arange(-8, 13))]
    if classes.decay == 0:
        lengths = [0.0, *(classes.radius * 2.0 ** np.arange(-8, 1))]
    best, chosen = np.full(len(norms), np.inf), np.zeros(len(norms))
    for t in lengths:
        value = classes.values(t * logits + classes.bias[:, None], np.full(len(norms), t**2))
        chosen, best = np.where(value < best, t, chosen), np.minimum(value, best)
    return np.asarray(unit * chosen)


# ---- words --------------------------------------------------------------------------------------
def _judged(problem: FixedHead, value: float, bound: float, tolerance: float) -> tuple[str, str]:
    gap = relative_gap(max(value - bound, 0.0), value)
    if gap <= tolerance:
        return "optimal", ""
    if not problem.logit_loss.convex and problem.effective_decay > 0:
        return "not certified", (
            f"some class ends where the focal loss is not convex, and a relative gap of {gap:.1e} "
            "stays open; feature_energy in the place of feature_decay has a certificate"
        )
    return "not converged", (
        f"the relative gap is still {gap:.1e}; raise max_iterations or the tolerance (rounding "
        "may hide the rest of an objective this small)"
        if value < SMALL
        else f"the relative gap is still {gap:.1e}; raise max_iterations or the tolerance"
    )


def _statement(problem: FixedHead) -> str:
    if problem.effective_decay > 0:
        found = "Strong convexity bounds every class from below by its gradient"
        if not problem.logit_loss.convex:
            found += "; the focal loss enters by its convex envelope"
    else:
        found = "Convexity bounds every class from below over the whole ball (Frank-Wolfe gap)"
        if not problem.logit_loss.convex:
            found += ", through the convex quantity that the focal loss increases with"
    return found + " (derived)."


def _notes(problem: FixedHead, head: _Head, features: Array) -> tuple[str, ...]:
    found = [
        "with a fixed head samples do not compete: every class solves its own problem, and class "
        "counts do not move the geometry (derived)"
    ]
    if problem.effective_decay == 0:
        seen = _rank(head.rows) if problem.logit_loss.sees_others else 1
        # A head read in single precision is not inside for its rounding.
        inside = np.linalg.norm(features, axis=0) < problem.radius * (1 - 1e-6)
        if inside.any() and seen < head.weight.shape[1]:
            found.append(
                f"the optimum is not unique: {int(inside.sum())} classes reach it inside the ball, "
                "where features may also move unseen by the loss; the shortest ones are given"
            )
    return tuple(found)
