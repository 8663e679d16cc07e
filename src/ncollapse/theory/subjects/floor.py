"""The least loss that given norms allow, for all norms at once, certified from both sides.

    φ(T) = min over A (K, K) with |A|_* ≤ T, and over b, of Σ_k π_k w_k ℓ_k(A_k/√π_k + b)

Let a head W, a bias b and features h_i give the mean loss L = (1/N) Σ ℓ(W h_i + b, y_i) of a convex
loss. By Jensen's inequality L is at least the loss L̄ of the class means M (K, d) of its features,
and that is the loss of A = W Mᵀ diag(√π). Now

    |A|_* ≤ ‖W‖_F ‖M diag(√π)‖_F ≤ ‖W‖_F √(Σ ‖h_i‖²/N) = T,

so that L ≥ L̄ ≥ φ(|A|_*) ≥ φ(T): **no head and features, of any width, whose norms are no larger,
have less loss than φ(T)**, trained or not. It is reached: A = UΣVᵀ splits into W = c U√Σ and
M = V√Σ/(c√π) of norms c √|A|_* and √|A|_*/c. With a free bias, and where the loss sees softmax
only, A may also be centred first, which changes no loss and shortens |A|_*.

The same number is the gap to weight decay at a fitted τ. With any decays the penalties
λ_W/2 ‖W‖² + λ_H/2 ‖H‖² are at least τ T, τ = √(N λ_W λ_H), with equality for the best scale of W
against H, and the optimum of problem (P) is f*(τ) = min_T φ(T) + τ T. So L + τ T - f*(τ) ≥ 0 for
every τ, and it is least, L - φ(T), at the τ whose optimum has just the norms T: φ(T) =
max_τ f*(τ) - τ T. That τ is what is fitted here; the gap is the objective over the optimum of the
network's own class counts, loss and τ, and the penalty has dropped out of it.

A dual point D(τ) ≤ f*(τ) makes a line D(τ) - τ T below φ, whatever T; a point of (P) makes a value
above it, and φ is convex. Solved τ are kept, so that a network that is looked at again and again
costs few solutions more. Source: derived here, on the convex form of Hong & Ling 2023.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ncollapse.losses import LogitLoss, Loss
from ncollapse.theory.problems.counted import check_loss
from ncollapse.theory.solvers.coarse import MANY, coarse_start
from ncollapse.theory.solvers.convex import minimize, one_thread
from ncollapse.theory.solvers.relaxation import Point, Relaxation

# Solutions at most for one answer, and the relative gaps to which they are solved.
ROUNDS = 24
SHARE = 0.1
# With many distinct counts solutions are of fewer groups, and lifted (their bounds hold, and are
# good to this); only the last of so many is of all groups.
COARSE, ROUGH, FEWER = 3e-3, 1e-5, 5
# So far from what is solved, in log τ, no τ is told.
FAR = 20.0
# What counts as nothing, of the loss at equal logits.
NOTHING = 1e-12


@dataclass(frozen=True)
class Floor:
    """lower ≤ φ(T) ≤ upper, and the τ of the line that holds `lower`."""

    lower: float
    upper: float
    tau: float


@dataclass(frozen=True, eq=False)
class _Known:
    """A solved τ: |A|_* and loss of its point, and a lower bound on f*(τ)."""

    tau: float
    size: float
    loss: float
    bound: float
    point: Point


def check_convex(loss: Loss, num_classes: int) -> LogitLoss:
    """The loss, if it has a floor. Raises ValueError as `check_loss` does, and for one that is not
    convex in the logits."""
    known = check_loss(loss, num_classes)
    if not known.convex:
        raise ValueError(
            f"{known.name} is not convex, and no floor of a loss is known for it; certify "
            "cross-entropy (smoothed, weighted, adjusted) or squared errors"
        )
    return known


class LossFloor:
    """φ of class counts, a convex loss of logits and a head with or without a bias.

    Raises ValueError for a loss that theory does not solve for or that is not convex, and for
    classes without samples.
    """

    def __init__(self, counts: Sequence[int], loss: Loss, *, bias: bool = True) -> None:
        known = check_convex(loss, len(counts))
        empty = [k for k, count in enumerate(counts) if not count > 0]
        if empty:
            raise ValueError(f"class {empty[0]} has no sample; every class needs one for a floor")
        self._base = Relaxation(
            np.asarray(counts, dtype=np.float64), known, 1.0, 0.0 if bias else None
        )
        vanished = self._base.vanished()
        slope = self._base.slope(vanished)
        # At this τ the optimum is 0: the line through φ(0) that is steepest.
        top = self._base.spectral_norm(slope.spread, slope.core)
        self._known = [_Known(top, 0.0, slope.value, slope.value * (1 - 1e-14), vanished)]
        self.solved = 0

    @property
    def at_nothing(self) -> float:
        """φ(0): the loss of equal logits, with the best bias."""
        return self._known[0].loss

    def at(self, size: float, tolerance: float = 1e-4, *, beside: float = 0.0) -> Floor:
        """φ at T = size, to a relative tolerance where ROUNDS solutions reach it (with 64 distinct
        counts or more: to a few thousandths); `lower` is a bound in any case. beside: a loss that
        the floor is compared with; where it is larger than φ, the tolerance is of it, and a floor
        that is nothing beside it takes no solution. Raises ValueError for a size that is no
        number ≥ 0."""
        if not (size >= 0 and math.isfinite(size)):
            raise ValueError(f"a nuclear norm of {size} is no number ≥ 0")
        many = self._base.groups.number >= MANY
        tolerance = max(tolerance, COARSE) if many else tolerance
        rounds = FEWER if many else ROUNDS
        found = self._between(size)
        for round_ in range(rounds):
            large = max(found.upper, beside)
            if found.upper - found.lower <= max(tolerance * large, NOTHING * self.at_nothing):
                break
            lifted = many and round_ < rounds - 1
            self._solve(self._next(size, round_), SHARE * tolerance, lifted)
            found = self._between(size)
        return found

    def lower(self, size: float) -> float:
        """The bound of what is solved already: falls in T."""
        return self._line(size)[0]

    def _line(self, size: float) -> tuple[float, float]:
        lines = [(known.bound - known.tau * size, known.tau) for known in self._known]
        return max([*lines, (0.0, 0.0)])

    def _between(self, size: float) -> Floor:
        lower, tau = self._line(size)
        large, small = self._around(size)
        upper = small.loss
        if large is not None:
            share = (size - small.size) / (large.size - small.size)
            upper = small.loss + share * (large.loss - small.loss)
        return Floor(min(lower, upper), upper, tau)

    def _around(self, size: float) -> tuple[_Known | None, _Known]:
        larger = [known for known in self._known if known.size > size]
        large = min(larger, key=lambda known: known.size, default=None)
        small = max((k for k in self._known if k.size <= size), key=lambda known: known.size)
        return large, small

    def fitted(self, size: float) -> float:
        """The τ whose optimum has |A|_* = size, read off those that are solved: |A|_* falls in τ,
        nearly linearly in log τ for cross-entropy. 0 where the size is beyond what they tell, as
        for squared errors, which norms of any finite size bring to 0."""
        large, small = self._around(size)
        if large is None:
            step = self._step(size, small)
            return small.tau * math.exp(-step) if step < FAR else 0.0
        share = (size - small.size) / (large.size - small.size)
        return _between(small.tau, large.tau, share)

    def _next(self, size: float, round_: int) -> float:
        """The τ to solve."""
        large, small = self._around(size)
        if large is not None:
            share = (size - small.size) / (large.size - small.size)
            # Bisection now and then, where the curve is far from a line.
            share = 0.5 if round_ % 4 == 3 else min(max(share, 0.02), 0.98)
            return _between(small.tau, large.tau, share)
        return small.tau * math.exp(-min(max(1.1 * self._step(size, small), 0.1), 4.0))

    def _step(self, size: float, small: _Known) -> float:
        """From the largest size that is solved on to a larger one, in -log τ."""
        others = [known for known in self._known if known.size < small.size]
        if not others:
            return 1.0
        last = max(others, key=lambda known: known.size)
        rise = (small.size - last.size) / max(math.log(last.tau / small.tau), 1e-9)
        return (size - small.size) / rise

    def _solve(self, tau: float, tolerance: float, lifted: bool) -> None:
        relaxed = self._base.at(tau)
        self.solved += 1
        if lifted:
            with one_thread():
                rough = coarse_start(relaxed, lambda few: minimize(few, tolerance=ROUGH).point)
            if rough is not None:
                self._known.append(_lifted(relaxed, rough))
                return
        near = min(self._known, key=lambda known: abs(math.log(known.tau / tau)))
        start = near.point if near.size else None
        found = minimize(relaxed, tolerance=tolerance, max_iterations=500, start=start)
        size = relaxed.nuclear(found.point)
        loss = found.objective - tau * size
        self._known.append(_Known(tau, size, loss, found.lower_bound, found.point))


def _between(first: float, second: float, share: float) -> float:
    return math.exp((1 - share) * math.log(first) + share * math.log(second))


def _lifted(relaxed: Relaxation, rough: Point) -> _Known:
    """A solution on fewer groups, as a point of all of them, with the bound that it has there."""
    with one_thread():
        point = relaxed.polish_bias(rough, rounds=3)
        slope = relaxed.slope(point)
        bound = relaxed.bound(slope.own, slope.others).value
        size = relaxed.nuclear(point)
    return _Known(relaxed.tau, size, slope.value, bound, point)
