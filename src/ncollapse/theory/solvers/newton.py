"""Newton's method on the active manifold of (P): matrices of the rank and support found so far.

Around A = U diag(σ) Vᵀ of rank r the objective is smooth along D with U⊥ᵀ D V⊥ = 0. In the bases
(U, U⊥), (V, V⊥), D = [[M, Q], [P, 0]], the nuclear norm adds to second order

    ½ Σ_{i<j≤r} (M_ij - M_ji)²/(σ_i + σ_j) + ½ Σ_j (‖P_:j‖² + ‖Q_j:‖²)/σ_j

and the curve that stays of rank r adds ⟨G, U⊥ P Σ⁻¹ Q V⊥ᵀ⟩ with the gradient G. The system is
solved by conjugate gradients; in these bases its diagonal over pairs (ij), (ji) is a good
preconditioner, because σ is spread and U and V are nearly unit vectors. With many groups the
products are in single precision, twice as fast: the step is inexact in any case, and what it leads
to is judged in double.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from ncollapse.theory.solvers.forms.form import Curvature
from ncollapse.theory.solvers.relaxation import Point, Relaxation, Slope

Array = np.ndarray
Parts = tuple[Array, Array, Array]
# Products are in single precision with more groups than that.
SMALL = 256


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular value decomposition of a core (g, g): all of U, V, and σ with its first r > 0."""

    left: Array
    values: Array
    right: Array

    @property
    def rank(self) -> int:
        return int(np.count_nonzero(self.values))


def newton_direction(
    problem: Relaxation, point: Point, spectrum: Spectrum, slope: Slope, tolerance: float
) -> tuple[Point, int]:
    """An approximate Newton step for spread, core and bias, and how many products it took."""
    system = _System(problem, point, spectrum, slope)
    if problem.groups.number > SMALL:
        system.in_single()
    step, used = _conjugate_gradients(system, tolerance)
    spread, core, bias = (part.astype(np.float64) * system.unit for part in step)
    left, right = spectrum.left, spectrum.right
    return Point(spread, left @ core @ right.T, None if point.bias is None else bias), used


class _System:
    """Gradient, Hessian product and preconditioner in the singular bases."""

    def __init__(self, problem: Relaxation, point: Point, spectrum: Spectrum, slope: Slope) -> None:
        self.problem, self.spectrum = problem, spectrum
        number, rank = problem.groups.number, spectrum.rank
        tau = problem.tau
        self.rank = rank
        self.active = (point.spread > 0) & problem.free
        left, right = spectrum.left, spectrum.right
        gradient = left.T @ slope.core @ right
        self.beyond = gradient[rank:, rank:].copy()
        gradient[rank:, rank:] = 0.0
        gradient[np.arange(rank), np.arange(rank)] += tau
        by_spread = np.where(self.active, slope.spread + tau * (problem.groups.sizes - 1), 0.0)
        self.has_bias = slope.bias is not None
        none = np.zeros(0)
        self.gradient: Parts = (by_spread, gradient, none if slope.bias is None else slope.bias)
        self.values = spectrum.values[:rank]
        sums = spectrum.values[:, None] + spectrum.values[None, :]
        sums[rank:, rank:] = 1.0
        self.bend = tau / sums
        self.curvature = problem.curvature(point)
        self.left, self.right, self.unit = left, right, 1.0
        self._prepare(point, number)

    def _prepare(self, point: Point, number: int) -> None:
        problem, rank, curvature = self.problem, self.rank, self.curvature
        own, others = _diagonal(curvature)
        copies = np.maximum(problem.form.copies, 1.0)
        # Curvature of a direction that moves one entry of the core: its mean over the copies.
        factor = problem.mass / problem.root**2
        entry = others / copies * (problem.to_logits * problem.root) ** 2 * copies * factor
        sizes = problem.groups.sizes
        entry[problem.diagonal] = (
            factor
            * (own + np.diag(others) * (problem.form.copies[problem.diagonal] > 0))
            / sizes**2
        )
        left, right = self.spectrum.left, self.spectrum.right
        smooth = (left**2).T @ entry @ right**2
        smooth += 1e-12 * smooth.max()
        self.inverse = 1 / (smooth + self.bend)
        self.inverse[rank:, rank:] = 0.0
        # Of the pair (ij), (ji): the inverse of [[s_ij + b, -b], [-b, s_ji + b]].
        inside, bend = smooth[:rank, :rank], self.bend[:rank, :rank]
        pair = inside * inside.T + bend * (inside + inside.T)
        self.inverse[:rank, :rank] = (inside.T + bend) / pair
        self.across = bend / pair
        spread = factor * (own * (1 - 1 / sizes) ** 2 + np.diag(others) / sizes**2)
        self.spread_diagonal = np.where(self.active & (spread > 0), spread, 1.0)
        self.bias_inverse = np.linalg.inv(problem.bias_hessian(point)) if self.has_bias else None

    def in_single(self) -> None:
        """All that products need in single precision, for the gradient over its largest entry."""
        largest = max(float(np.abs(part).max(initial=0.0)) for part in self.gradient)
        self.unit = largest or 1.0
        spread, core, bias = (_single(part / self.unit) for part in self.gradient)
        self.gradient = (spread, core, bias)
        problem = copy(self.problem)
        for name in ("mass", "root", "to_logits"):
            setattr(problem, name, _single(getattr(problem, name)))
        problem.groups = replace(problem.groups, sizes=_single(problem.groups.sizes))
        self.problem = problem
        for name in ("left", "right", "values", "bend", "beyond", "inverse", "across"):
            setattr(self, name, _single(getattr(self, name)))
        self.spread_diagonal = _single(self.spread_diagonal)
        if self.bias_inverse is not None:
            self.bias_inverse = _single(self.bias_inverse)
        terms = tuple(
            (_single(factor), _single(own), _single(others))
            for factor, own, others in self.curvature.terms
        )
        self.curvature = Curvature(
            _single(self.curvature.own), _single(self.curvature.others), terms
        )

    def product(self, parts: Parts) -> Parts:
        spread, core, bias = parts
        problem, rank = self.problem, self.rank
        left, right = self.left, self.right
        moved = Point(spread, left @ core @ right.T, bias if self.has_bias else None)
        changed = self.curvature.product(*problem.logits(moved))
        by_spread, by_core, by_bias = problem.chain(*changed)
        out = left.T @ by_core @ right
        out += self.bend * core
        out[:rank, :rank] -= self.bend[:rank, :rank] * core[:rank, :rank].T
        out[rank:, rank:] = 0.0
        if self.beyond.size > 1:
            inverse = 1 / self.values
            out[rank:, :rank] += (self.beyond @ core[:rank, rank:].T) * inverse
            out[:rank, rank:] += inverse[:, None] * (core[rank:, :rank].T @ self.beyond)
        if self.has_bias and problem.bias_decay:
            by_bias = by_bias + problem.bias_decay * problem.groups.sizes * bias
        return np.where(self.active, by_spread, 0.0), out, by_bias if self.has_bias else bias

    def precondition(self, parts: Parts) -> Parts:
        spread, core, bias = parts
        rank = self.rank
        out = core * self.inverse
        out[:rank, :rank] += self.across * core[:rank, :rank].T
        return (
            spread / self.spread_diagonal,
            out,
            bias if self.bias_inverse is None else self.bias_inverse @ bias,
        )


def _single(values: Array) -> Array:
    return np.asarray(values, dtype=np.float32)


def _diagonal(curvature: Curvature) -> tuple[Array, Array]:
    """Second derivatives by one logit at a time; by all copies of another class summed."""
    own, others = curvature.own, curvature.others
    for factor, v_own, _ in curvature.terms:
        own = own + factor * v_own**2
    return np.maximum(own, 1e-300), others


def _inner(first: Parts, second: Parts) -> float:
    return (
        float(first[0] @ second[0])
        + float(np.vdot(first[1], second[1]))
        + float(first[2] @ second[2])
    )


def _plus(first: Parts, scale: float, second: Parts) -> Parts:
    return (
        first[0] + scale * second[0],
        first[1] + scale * second[1],
        first[2] + scale * second[2],
    )


def _conjugate_gradients(system: _System, tolerance: float, most: int = 60) -> tuple[Parts, int]:
    """Steihaug's rule: stop where the curvature is not positive."""
    residual = _plus(system.gradient, -2.0, system.gradient)
    shaped = system.precondition(residual)
    direction = shaped
    step: Parts = (
        np.zeros_like(residual[0]),
        np.zeros_like(residual[1]),
        np.zeros_like(residual[2]),
    )
    energy = start = _inner(residual, shaped)
    used = 0
    while used < most and energy > tolerance**2 * start and energy > 0:
        image = system.product(direction)
        used += 1
        bend = _inner(direction, image)
        if bend <= 0:
            break
        length = energy / bend
        step = _plus(step, length, direction)
        residual = _plus(residual, -length, image)
        shaped = system.precondition(residual)
        previous, energy = energy, _inner(residual, shaped)
        direction = _plus(shaped, energy / previous, direction)
    return step, used
