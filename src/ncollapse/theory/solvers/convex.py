"""The certified solver of (P): accelerated proximal gradient steps, then Newton's method.

Proximal steps (singular value thresholding, Nesterov's momentum with restarts) find the rank and
which groups have merged; Newton's method on that manifold closes the gap; a scaled dual point says
how far the value can be from the global minimum. Sources: Cai, Candès, Shen 2010 (thresholding);
Beck & Teboulle 2009; O'Donoghue & Candès 2015 (restarts).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ncollapse.theory.proof import relative_gap
from ncollapse.theory.solvers.coarse import coarse_start
from ncollapse.theory.solvers.newton import Spectrum, newton_direction
from ncollapse.theory.solvers.relaxation import Bound, Point, Relaxation, Slope

Array = np.ndarray
# Values that differ by a smaller share of them are taken for equal.
ROUNDING = 1e-15
# Relative gaps above SHARP are worth one more Newton step with at most SMALL groups.
SHARP = 1e-14
SMALL = 256
# Rounds without progress, at a relative gap below CLOSE, after which rounding is taken to be
# reached; progress halves the gap or lowers the objective by more than a rounding error.
STALLED = 15
CLOSE = 1e-5


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Where the solver ended: a point, its value of (P) and the best lower bound seen.

    stalled: rounding keeps the gap open, and more steps would not close it.
    """

    point: Point
    objective: float
    bound: Bound
    lower_bound: float
    iterations: int
    converged: bool
    stalled: bool = False

    @property
    def relative_gap(self) -> float:
        return relative_gap(self.objective - self.lower_bound, self.objective)


def minimize(
    problem: Relaxation,
    *,
    tolerance: float = 1e-8,
    max_iterations: int = 5000,
    start: Point | None = None,
) -> Relaxed:
    """A minimiser of (P) with relative gap ≤ tolerance, or the best point after max_iterations
    proximal steps (`converged` False)."""
    with one_thread():
        if start is None:
            start = coarse_start(problem, lambda p: minimize(p, tolerance=1e-5).point)
        return _Search(problem, tolerance, max_iterations).run(start or problem.zero())


@dataclass(frozen=True, eq=False)
class _State:
    point: Point
    spectrum: Spectrum
    slope: Slope
    objective: float


class _Search:
    """One run: states follow each other by proximal or Newton steps."""

    def __init__(self, problem: Relaxation, tolerance: float, most: int) -> None:
        self.problem, self.tolerance, self.most = problem, tolerance, most
        groups = problem.groups
        # Σ_j mass_j/(m_j ρ_j) × the loss's curvature bounds that of the smooth part.
        ratio = float((problem.mass / groups.sizes / problem.root**2).max())
        self.lipschitz = ratio * problem.form.largest_curvature()
        self.used = 0
        self.best = -np.inf
        # Of the relative gap and the objective, and rounds since either fell.
        self.lowest, self.least, self.idle = np.inf, np.inf, 0

    def run(self, start: Point) -> Relaxed:
        state = self.proximal_phase(self.state(start), 12)
        round_ = 12
        while True:
            state = self.settled(state)
            state, bound = self.certified(state)
            gap = relative_gap(state.objective - self.best, state.objective)
            done = gap <= self.tolerance
            if done and gap > SHARP and self.problem.groups.number <= SMALL:
                state, bound = self.sharpened(state, bound)
            stalled = not done and self.stalls(gap, state.objective)
            if done or stalled or self.used >= self.most:
                # Rounding may lift the bound above the value: a lower one holds as well.
                lower = min(self.best, state.objective)
                return Relaxed(state.point, state.objective, bound, lower, self.used, done, stalled)
            moved = self.newton_step(state, bound)
            if moved is None:
                round_ = min(2 * round_, 200)
                moved = self.proximal_phase(state, round_)
            state = moved

    def stalls(self, gap: float, objective: float) -> bool:
        """Whether the gap is small and has not moved for long."""
        moved = gap <= 0.5 * self.lowest or objective < self.least - 1e-13 * abs(self.least)
        self.idle = 0 if moved or gap > CLOSE else self.idle + 1
        self.lowest, self.least = min(gap, self.lowest), min(objective, self.least)
        return self.idle > STALLED

    # ---- states -------------------------------------------------------------------------------
    def state(self, point: Point) -> _State:
        left, values, right = np.linalg.svd(point.core)
        values[values <= 1e-13 * max(float(values[0]), 1e-300)] = 0.0
        return self._state(point, Spectrum(left, values, right.T))

    def _state(self, point: Point, spectrum: Spectrum) -> _State:
        slope = self.problem.slope(point)
        inside = float((self.problem.groups.sizes - 1) @ point.spread)
        nuclear = inside + float(spectrum.values.sum())
        return _State(point, spectrum, slope, slope.value + self.problem.tau * nuclear)

    def proximal(self, point: Point, slope: Slope, lipschitz: float) -> tuple[Point, Spectrum]:
        """argmin of the quadratic model at a point plus τ|A|_*."""
        problem = self.problem
        cut = problem.tau / lipschitz
        spread = point.spread - slope.spread / problem.rest / lipschitz - cut
        spread = np.where(problem.free, np.maximum(spread, 0.0), 0.0)
        left, values, right = np.linalg.svd(point.core - slope.core / lipschitz)
        values = np.maximum(values - cut, 0.0)
        core = (left * values) @ right
        bias = None
        if point.bias is not None and slope.bias is not None:
            bias = point.bias - slope.bias / problem.groups.sizes / lipschitz
        return Point(spread, core, bias), Spectrum(left, values, right.T)

    # ---- proximal steps -----------------------------------------------------------------------
    def proximal_phase(self, state: _State, steps: int) -> _State:
        problem = self.problem
        ahead, ahead_slope, momentum = state.point, state.slope, 1.0
        best = state
        for _ in range(steps):
            self.used += 1
            while True:
                point, spectrum = self.proximal(ahead, ahead_slope, self.lipschitz)
                there = self._state(point, spectrum)
                bent = self._dot(_minus(point, ahead), _minus(point, ahead))
                model = ahead_slope.value + self._linear(ahead_slope, _minus(point, ahead))
                model += 0.5 * self.lipschitz * bent
                if there.slope.value <= model + 1e-14 * abs(ahead_slope.value):
                    break
                self.lipschitz *= 2
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            push = (momentum - 1) / following
            if self._dot(_minus(ahead, point), _minus(point, state.point)) > 0:
                following, push = 1.0, 0.0
            ahead = _extrapolate(point, push, state.point)
            ahead_slope = there.slope if push == 0 else problem.slope(ahead)
            state, momentum = there, following
            if there.objective <= best.objective:
                best = there
            self.lipschitz *= 0.9
        return best

    def _dot(self, first: Point, second: Point) -> float:
        """Frobenius product of the K × K matrices, and of the biases."""
        total = float((first.spread * self.problem.rest) @ second.spread)
        total += float(np.vdot(first.core, second.core))
        if first.bias is not None and second.bias is not None:
            total += float((first.bias * self.problem.groups.sizes) @ second.bias)
        return total

    def _linear(self, slope: Slope, step: Point) -> float:
        total = float(slope.spread @ step.spread) + float(np.vdot(slope.core, step.core))
        if slope.bias is not None and step.bias is not None:
            total += float(slope.bias @ step.bias)
        return total

    # ---- Newton steps -------------------------------------------------------------------------
    def newton_step(self, state: _State, bound: Bound) -> _State | None:
        """A Newton step followed by a proximal one, or None where it does not descend."""
        if state.spectrum.rank == 0 and not (state.point.spread > 0).any():
            return None
        problem = self.problem
        accuracy = float(np.clip(bound.norm_ratio - 1, 1e-4, 0.1))
        step, _ = newton_direction(
            problem, state.point, state.spectrum, state.slope, 0.1 * np.sqrt(accuracy)
        )
        length = 1.0
        for _ in range(3):
            self.used += 1
            ahead = _extrapolate(state.point, length, _minus(state.point, step))
            ahead = Point(np.maximum(ahead.spread, 0.0), ahead.core, ahead.bias)
            lipschitz = self.lipschitz
            there = self._state(*self.proximal(ahead, problem.slope(ahead), lipschitz))
            if there.objective <= state.objective + ROUNDING * abs(state.objective):
                return there
            length /= 4
        return None

    def sharpened(self, state: _State, bound: Bound) -> tuple[_State, Bound]:
        """One Newton step more: a gap ε leaves errors of √ε in the geometry, and the step, cheap
        for few groups, squares them."""
        moved = self.newton_step(state, bound)
        if moved is None:
            return state, bound
        moved, closer = self.certified(self.settled(moved))
        slack = ROUNDING * abs(state.objective)
        better = closer.value >= bound.value and moved.objective <= state.objective + slack
        return (moved, closer) if better else (state, bound)

    # ---- ends ---------------------------------------------------------------------------------
    def settled(self, state: _State) -> _State:
        """Spreads that must be 0 set to 0: α_i = 0 is optimal for fixed others exactly when its
        derivative there is at most τ, which rounding need not blur."""
        problem = self.problem
        inside = state.point.spread > 0
        if not inside.any():
            return state
        merged = Point(np.zeros_like(state.point.spread), state.point.core, state.point.bias)
        pull = np.abs(problem.slope(merged).spread) / problem.rest
        gone = inside & (pull <= problem.tau)
        if not gone.any():
            return state
        spread = np.where(gone, 0.0, state.point.spread)
        there = self._state(Point(spread, state.point.core, state.point.bias), state.spectrum)
        return there if there.objective <= state.objective * (1 + 1e-12) else state

    def absorbed(self, state: _State) -> _State:
        """A free bias takes over A√π: the logits stay and |A|_* shrinks."""
        groups = self.problem.groups
        if self.problem.bias_decay != 0:
            return state
        root = np.sqrt(groups.sizes * groups.counts / groups.num_samples)
        along = state.point.core @ root
        if np.abs(along).max() <= 1e-13 * float(state.spectrum.values[0]):
            return state
        assert state.point.bias is not None
        bias = state.point.bias + along / np.sqrt(groups.sizes)
        return self.state(Point(state.point.spread, state.point.core - np.outer(along, root), bias))

    def certified(self, state: _State) -> tuple[_State, Bound]:
        if state.point.bias is not None:
            state = self.absorbed(state)
            polished = self.problem.polish_bias(state.point)
            state = self._state(polished, state.spectrum)
        bound = self.problem.bound(state.slope.own, state.slope.others)
        self.best = max(self.best, bound.value)
        return state, bound


def _minus(first: Point, second: Point) -> Point:
    bias = None if first.bias is None or second.bias is None else first.bias - second.bias
    return Point(first.spread - second.spread, first.core - second.core, bias)


def _extrapolate(point: Point, push: float, previous: Point) -> Point:
    """point + push (point - previous)."""
    if push == 0:
        return point
    bias = None
    if point.bias is not None and previous.bias is not None:
        bias = point.bias + push * (point.bias - previous.bias)
    return Point(
        point.spread + push * (point.spread - previous.spread),
        point.core + push * (point.core - previous.core),
        bias,
    )


@lru_cache(maxsize=1)
def _pools() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """One BLAS thread while it lasts: small decompositions slow down with more."""
    with _pools().limit(limits=1, user_api="blas"):
        yield
