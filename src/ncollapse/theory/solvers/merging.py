"""Where a group of equal classes merges, for losses whose pull depends on the logits: by solving.

With the group held merged (its spread 0, everything else free) the solution at τ pulls its classes
apart with a force g(τ), the derivative of the loss by the spread; they stay merged exactly where
g(τ) ≤ τ. The threshold is the largest root of g(τ) = τ, looked for from above: at the τ where
everything vanishes the group is merged for certain. For the focal loss all this is of its convex
envelope, which is what the certified solver minimises.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq

from ncollapse.theory.problems.ufm import UFM
from ncollapse.theory.solvers.convex import minimize
from ncollapse.theory.solvers.readout import relaxation_of
from ncollapse.theory.solvers.relaxation import Point, Relaxation

# Relative error of τ at the root, and gap of the solutions on the way, which a last Newton step
# squares.
SHARPNESS = 1e-6
TOLERANCE = 1e-5
# A search takes some ten solutions a group: with more kinds of classes than this none is made.
KINDS = 16
# Below this share of the τ where everything vanishes no group is looked for.
SMALLEST = 1e-9
ROUNDS = 60


def merging_thresholds(problem: UFM, members: Sequence[int]) -> list[float | None]:
    """N² λ_W λ_H from which on the group of each class in `members` merges; None where no decay is
    found at which it is apart, and with more than 16 kinds of classes."""
    relaxed = relaxation_of(problem)
    if relaxed.groups.number > KINDS:
        return [None] * len(members)
    top = relaxed.vanishing()
    scale = problem.num_samples
    found = [_Held(relaxed, int(relaxed.groups.index[k]), top).root() for k in members]
    return [None if tau is None else scale * tau**2 for tau in found]


class _Held:
    """The force g(τ) on one group held merged; every solution starts at the last one."""

    def __init__(self, problem: Relaxation, group: int, top: float) -> None:
        self.problem, self.group, self.top = problem, group, top
        self.start = problem.vanished()

    def force(self, point: Point) -> float:
        """log g at a point."""
        slope = abs(float(self.problem.slope(point).spread[self.group]))
        return float(np.log(max(slope / self.problem.rest[self.group], 1e-300)))

    def excess(self, log_tau: float) -> float:
        """log g(τ) - log τ: positive where the group comes apart."""
        held = self.problem.at(float(np.exp(log_tau)), held=self.group)
        self.start = minimize(held, tolerance=TOLERANCE, start=self.start).point
        return self.force(self.start) - log_tau

    def root(self) -> float | None:
        high = float(np.log(self.top))
        lowest = high + float(np.log(SMALLEST))
        above = self.force(self.start) - high
        if above > -SHARPNESS:
            # Nothing but the zero solution merges it.
            return self.top
        for _ in range(ROUNDS):
            # Were the force the same further down, the root would be here; a little below it the
            # sign has changed, or the search goes on from there.
            low = high + above - 0.02
            if low < lowest:
                return None
            below = self.excess(low)
            if below > 0:
                return float(np.exp(brentq(self.excess, low, high, xtol=SHARPNESS)))
            high, above = low, below
        return None
