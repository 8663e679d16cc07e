"""All class problems of a fixed head at once: Newton's method in a ball, or with decay.

    min over h of  ω ℓ(L h + b, y) + μ/2 ‖h‖²      with μ > 0, or with ‖h‖ ≤ R and μ = 0,

one problem a class y, features as columns of H (r, K), logits Z = L H + b (K, K). On the sphere
steps are tangent and the multiplier ν = -∇·h/R² adds to the curvature; inside the ball they are
plain. Conjugate gradients with the diagonal of the Hessian solve all classes together, so that a
step costs a few products of (K, r) and (r, K) matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ncollapse.theory.solvers.forms.form import Curvature, GroupedLoss

Array = np.ndarray
# Within this share of R a feature lies on the sphere.
ON_SPHERE = 1e-12
# As shares of the value.
ROUNDING = 1e-15
TINY = float(np.finfo(np.float64).tiny)
HALVINGS = 30
MOST_PRODUCTS = 60
# Largest entry of a step, in radii.
FARTHEST = 1e12
# Steps without progress after which rounding is taken to be reached.
STALLED = 10


@dataclass(frozen=True, eq=False)
class ClassProblems:
    """rows: L (K, r). bias (K). form: the loss, one class a group. weight: ω (K). decay: μ, 0 in a
    ball. radius: R, ∞ with decay."""

    rows: Float[Array, "classes rank"]
    bias: Float[Array, " classes"]
    form: GroupedLoss
    weight: Float[Array, " classes"]
    decay: float
    radius: float

    def logits(self, features: Array) -> Array:
        return np.asarray(self.rows @ features + self.bias[:, None])

    def values(self, logits: Array, squares: Array) -> Array:
        """Of every class; squares: ‖h‖² (K)."""
        loss = self.form.value(np.diagonal(logits), logits)
        return np.asarray(self.weight * loss + 0.5 * self.decay * squares)

    def gradient(self, features: Array, logits: Array) -> Array:
        """(r, K)."""
        by_logits = full_gradient(self.form, logits) * self.weight
        return np.asarray(self.rows.T @ by_logits + self.decay * features)

    def gaps(self, features: Array, gradient: Array) -> Array:
        """How far each class can be from its minimum, by convexity: the Frank-Wolfe gap
        ∇·h + R ‖∇‖ in a ball, ‖∇‖²/(2μ) with decay."""
        if self.decay > 0:
            return np.asarray((gradient**2).sum(0) / (2 * self.decay))
        return ball_gap(features, gradient, self.radius)

    def shares(self, gaps: Array, values: Array) -> Array:
        """The gaps as what is asked of them: shares of the values, unless the form says else."""
        return gaps if self.form.absolute else np.asarray(gaps / np.maximum(values, TINY))


def ball_gap(features: Array, gradient: Array, radius: float) -> Array:
    """max(∇·h + R ‖∇‖, 0), column by column: how far a convex function can fall in the ball."""
    inner = (gradient * features).sum(0)
    return np.maximum(inner + radius * np.linalg.norm(gradient, axis=0), 0.0)


def full_gradient(form: GroupedLoss, logits: Array) -> Array:
    """(K, K): column y is the gradient by the logits of a sample of class y."""
    return spread_out(*form.gradient(np.diagonal(logits), logits)[1:])


def spread_out(own: Array, others: Array) -> Array:
    """(K, K): by the own logit on the diagonal, by others beside it."""
    found = np.array(others)
    np.fill_diagonal(found, own)
    return found


def minimize_classes(
    problem: ClassProblems, start: Float[Array, "rank classes"], goal: float, most: int
) -> tuple[Float[Array, "rank classes"], int]:
    """The columns with the smallest gaps seen and how many Newton steps were taken; stops when no
    class is further from its minimum than `goal` (times its value, for a loss), or when no step
    helps any more."""
    features, best = start, start.copy()
    best_gaps = np.full(start.shape[1], np.inf)
    plain = np.zeros(start.shape[1], dtype=bool)
    used, worst, lowest, since = 0, np.inf, np.inf, 0
    for used in range(most + 1):
        logits = problem.logits(features)
        gradient = problem.gradient(features, logits)
        gaps = problem.gaps(features, gradient)
        better = gaps < best_gaps
        best[:, better], best_gaps = features[:, better], np.minimum(gaps, best_gaps)
        values = problem.values(logits, (features**2).sum(0))
        shares = problem.shares(best_gaps, values)
        total = float(values.sum())
        gained = shares.max() <= 0.9 * worst or not total >= lowest - 1e-12 * abs(lowest)
        since = 0 if gained else since + 1
        worst, lowest = min(worst, float(shares.max())), min(lowest, total)
        if worst <= goal or used == most or since > STALLED:
            break
        sphere, multiplier = _multipliers(problem, features, gradient)
        accuracy = 0.1 if used < 3 else 1e-2
        step = _direction(problem, features, logits, gradient, sphere, multiplier, accuracy, plain)
        moved, failed = _searched(problem, features, logits, gradient, step, sphere)
        # A class whose plain gradient step fails too is at rounding.
        if bool((failed & (plain | (shares <= goal))).all()):
            break
        plain, features = failed, moved
    return best, used


def _multipliers(problem: ClassProblems, features: Array, gradient: Array) -> tuple[Array, Array]:
    """Which classes sit on the sphere with the gradient pushing outwards, and the curvature ν that
    the constraint (or decay) adds."""
    if problem.decay > 0:
        none = np.zeros(features.shape[1], dtype=bool)
        return none, np.full(features.shape[1], problem.decay)
    outward = -(gradient * features).sum(0) / problem.radius**2
    at_edge = np.linalg.norm(features, axis=0) >= problem.radius * (1 - ON_SPHERE)
    sphere = at_edge & (outward > 0)
    return sphere, np.where(sphere, outward, 0.0)


def _direction(
    problem: ClassProblems,
    features: Array,
    logits: Array,
    gradient: Array,
    sphere: Array,
    multiplier: Array,
    accuracy: float,
    plain: Array,
) -> Array:
    """Newton directions by preconditioned conjugate gradients; scaled gradients where `plain`."""
    rows, weight = problem.rows, problem.weight
    curvature = problem.form.curvature(np.diagonal(logits), logits)
    radial = np.where(sphere, features / problem.radius, 0.0)

    def tangent(block: Array) -> Array:
        return np.asarray(block - radial * (radial * block).sum(0))

    diagonal = _diagonal(rows, curvature) * weight + multiplier
    # Where the loss is flat to rounding, steps far beyond the ball would overflow.
    farthest = FARTHEST * problem.radius
    floor = np.maximum(1e-12 * diagonal.max(0) + 1e-300, np.abs(gradient).max(0) / farthest)
    diagonal = np.maximum(diagonal, floor)
    across = radial / diagonal
    weighed = np.where(sphere, (radial * across).sum(0), 1.0)

    def shape(block: Array) -> Array:
        """The diagonal's inverse within the tangent space, not before and after projecting: for a
        badly conditioned head the two are far apart."""
        found = block / diagonal
        return np.asarray(found - across * ((radial * found).sum(0) / weighed))

    def product(block: Array) -> Array:
        block = tangent(block)
        by_logits = rows @ block
        own, others = curvature.product(np.diagonal(by_logits).copy(), by_logits)
        return tangent(rows.T @ (spread_out(own, others) * weight) + multiplier * block)

    residual = tangent(-gradient)
    shaped = shape(residual)
    steepest = shaped if not plain.any() else residual / diagonal.max(0)
    step, direction = np.zeros_like(residual), shaped
    energy = start = (residual * shaped).sum(0)
    for _ in range(MOST_PRODUCTS):
        going = (energy > accuracy**2 * start) & (energy > 0)
        if not going.any():
            break
        image = product(direction)
        bend = (direction * image).sum(0)
        going &= bend > 1e-300
        length = np.where(going, energy / np.where(going, bend, 1.0), 0.0)
        length = np.minimum(length, farthest / np.maximum(np.abs(direction).max(0), 1e-200))
        step += length * direction
        residual -= length * image
        shaped = shape(residual)
        previous, energy = energy, (residual * shaped).sum(0)
        ratio = np.where(going, energy / np.where(going, previous, 1.0), 0.0)
        direction = shaped + ratio * direction
        energy = np.where(going, energy, 0.0)
    # Where the loss is flat to rounding, conjugate gradients end at once.
    idle = plain | ~(step != 0).any(0)
    return np.where(idle, steepest, step)


def _diagonal(rows: Array, curvature: Curvature) -> Array:
    """(r, K): diagonal of Lᵀ ∇²ℓ L for every class."""
    found = (rows**2).T @ spread_out(curvature.own, curvature.others)
    for factor, v_own, v_others in curvature.terms:
        found += factor * (rows.T @ spread_out(v_own, v_others)) ** 2
    return np.maximum(found, 0.0)


def _searched(
    problem: ClassProblems,
    features: Array,
    logits: Array,
    gradient: Array,
    step: Array,
    sphere: Array,
) -> tuple[Array, Array]:
    """The longest of the steps 1, ½, ¼, … that descends enough, class by class, brought back to
    the sphere or into the ball; and the classes where none does, which stay."""
    if problem.form.absolute:
        # Nearly linear: Newton's step may be astronomic, and no halving brings it back.
        length = np.linalg.norm(step, axis=0)
        step = step * np.minimum(1.0, 2 * problem.radius / np.maximum(length, 1e-200))
    change = problem.rows @ step
    squares, along = (features**2).sum(0), (features * step).sum(0)
    length_squares = (step**2).sum(0)
    here = problem.values(logits, squares)
    slope = (gradient * step).sum(0)
    straight = (gradient * features).sum(0)
    open_ = slope < 0
    taken, scale = np.zeros(len(here)), np.ones(len(here))
    size = 1.0
    for _ in range(HALVINGS):
        if not open_.any():
            break
        norm = np.sqrt(np.maximum(squares + 2 * size * along + size**2 * length_squares, 0.0))
        shrink = np.ones(len(here))
        if problem.decay == 0:
            full = problem.radius / np.maximum(norm, 1e-300)
            shrink = np.where(sphere, full, np.minimum(1.0, full))
        bias = problem.bias[:, None]
        there = problem.values(
            (logits - bias + size * change) * shrink + bias, (norm * shrink) ** 2
        )
        promised = shrink * (straight + size * slope) - straight
        slack = ROUNDING * np.abs(here)
        # On the sphere the way back inwards costs what the multiplier pays for.
        needed = np.where(sphere, 1e-4 * size * slope, 1e-4 * np.minimum(promised, 0.0))
        fine = open_ & (there <= here + needed + slack)
        taken, scale = np.where(fine, size, taken), np.where(fine, shrink, scale)
        open_ = open_ & ~fine
        size /= 2
    moved = (features + taken * step) * scale
    return moved, taken == 0
