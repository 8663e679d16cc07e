"""The layer-peeled model for any counts: (P) with a ball |Z|_* ≤ T, T = K √(E_W E_H).

Solved through its multiplier: for the right μ the minimiser of F(Z) + μ |Z|_* has |Z|_* = T. Every
μ gives the lower bound (dual bound at μ) - μ T, so that the last digits of μ need not be right.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ncollapse.theory.problems.lpm import LPM
from ncollapse.theory.problems.problem import Ask
from ncollapse.theory.proof import Certificate, relative_gap
from ncollapse.theory.solution import Solution
from ncollapse.theory.solvers.convex import minimize
from ncollapse.theory.solvers.descent import trained
from ncollapse.theory.solvers.readout import Found, solution_of
from ncollapse.theory.solvers.relaxation import Point, Relaxation
from ncollapse.theory.solvers.unconstrained import narrower

ROUNDS = 60


def solve_peeled(problem: LPM, ask: Ask) -> Solution:
    """The certified solution; at a width that binds a descent beside its bound, and, insisted on,
    ValueError there."""
    wide, width = _certified(problem, ask.tolerance, ask.max_iterations), problem.num_features
    if width is None or width >= max(wide.rank, 1):
        return wide
    if ask.insisted:
        raise ValueError(narrower(width, wide.rank))
    found = trained(problem, ask)
    stationarity = found.certificate.stationarity
    return replace(
        found,
        certificate=replace(wide.certificate, stationarity=stationarity),
        advice=f"num_features={wide.rank} loses nothing; {found.advice}".rstrip("; "),
    )


def _certified(problem: LPM, tolerance: float, max_iterations: int) -> Solution:
    """At any width; extra: multiplier μ."""
    radius = problem.num_classes * math.sqrt(problem.weight_energy * problem.feature_energy)
    search = _MultiplierSearch(_pull(problem), radius)
    best: tuple[float, float, Relaxation, Point] | None = None
    bound, used, start = 0.0, 0, None
    done = False
    for _ in range(ROUNDS):
        multiplier = search.multiplier
        relaxed = _relaxed(problem, multiplier)
        found = minimize(
            relaxed, tolerance=0.01 * tolerance, max_iterations=max_iterations, start=start
        )
        used += found.iterations
        start = found.point
        size = relaxed.nuclear(found.point)
        bound = max(bound, found.lower_bound - multiplier * radius)
        # Inside the ball the loss may still fall outwards; outside it the point is no candidate.
        factors = [radius / size] if size > 0 else [0.0]
        if size < radius:
            factors.append(1.0)
        for factor in factors:
            point = Point(factor * found.point.spread, factor * found.point.core, None)
            value = relaxed.exact_loss(point)
            if best is None or value < best[0]:
                best = value, multiplier, relaxed, point
        assert best is not None
        done = relative_gap(best[0] - bound, best[0]) <= tolerance
        if done:
            break
        search.learn(size)
    assert best is not None
    value, multiplier, relaxed, point = best
    bound = min(bound, value)
    solution = solution_of(
        problem,
        Found(
            problem=relaxed,
            point=point,
            objective=value,
            certificate=Certificate(
                bound, "dual", "A dual point bounds the loss from below under the norm constraint."
            ),
            status="optimal" if done else "not certified",
            solver="convex",
            advice=""
            if done
            else f"the relative gap is {relative_gap(value - bound, value):.1e}; raise "
            "max_iterations or the tolerance",
            iterations=used,
        ),
        gain=(problem.weight_energy / problem.feature_energy) ** 0.25,
    )
    solution.extra["multiplier"] = multiplier
    return solution


def _relaxed(problem: LPM, multiplier: float) -> Relaxation:
    return Relaxation(problem.counts, problem.logit_loss, multiplier, None, share_weighted=False)


def _pull(problem: LPM) -> float:
    """‖∇F(0)‖₂: from this multiplier on the minimiser is 0."""
    relaxed = _relaxed(problem, 1.0)
    slope = relaxed.slope(relaxed.zero())
    return relaxed.spectral_norm(slope.spread, slope.core)


class _MultiplierSearch:
    """Root of |Z(μ)|_* = T, which falls in μ and is nearly linear in log μ for cross-entropy."""

    def __init__(self, largest: float, radius: float) -> None:
        self.radius = radius
        # (log μ, |Z|_*) where |Z|_* is known to be too large, and where too small.
        self.large: tuple[float, float] | None = None
        self.small: tuple[float, float] = (math.log(largest), 0.0)
        self.multiplier = largest / 2
        self.rounds = 0

    def learn(self, size: float) -> None:
        here = (math.log(self.multiplier), size)
        self.rounds += 1
        previous = self.small
        if size > self.radius:
            self.large = here
        else:
            self.small = here
        if self.large is None:
            rise = (self.small[1] - previous[1]) / (previous[0] - self.small[0])
            wanted = 1.2 * (self.radius - size) / rise if rise > 0 else 3.0
            self.multiplier *= math.exp(-min(max(wanted, 0.1), 3.0))
            return
        (a, above), (b, below) = self.large, self.small
        share = (above - self.radius) / (above - below)
        if self.rounds % 4 == 0:
            share = 0.5
        self.multiplier = math.exp(a + min(max(share, 0.01), 0.99) * (b - a))
