"""Layer-peeled model with two groups of classes: where minority classes merge, exactly.

K_A majority classes of n_A samples, K_B minority classes of n_B, R = n_A / n_B. In the mean logits
Z the model is convex: min Σ_k π_k ℓ(Z_k) with ‖Z‖_* ≤ T = K √(E_W E_H). By symmetry

    Z = α_A (I - 11ᵀ/K_A) ⊕ α_B (I - 11ᵀ/K_B) + (rank one between the groups, x ∈ R²),
    ‖Z‖_* = (K_A - 1) α_A + (K_B - 1) α_B + ‖x‖,

so four numbers are the whole solution. Minority classes share one classifier and one feature,
α_B = 0, iff the multiplier μ of the constraint reaches π_B = n_B/N: at equal logits the gradient in
the minority's own directions has modulus π_B. Fang et al. 2021 state the limit R → ∞; the finite
threshold R* is one bisection away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ncollapse.losses import CrossEntropy
from ncollapse.theory.problems.lpm import LPM
from ncollapse.theory.solution import Solution

Array = NDArray[np.float64]
LARGEST_RATIO = 1e12


@dataclass(frozen=True)
class TwoGroups:
    """The optimum for majority classes K_A and minority classes K_B at the count ratio R.

    majority_spread, minority_spread: α_A, α_B ≥ 0; 0 = the group's classes have merged. between: x,
    the part between the groups. multiplier: μ of ‖Z‖_* ≤ T. minority_share: π_B of one class.
    objective: mean cross-entropy. stationarity: largest violation of the optimality conditions,
    which are sufficient here since the reduced problem is convex.
    """

    majority: int
    minority: int
    ratio: float
    radius: float
    majority_spread: float
    minority_spread: float
    between: tuple[float, float]
    multiplier: float
    minority_share: float
    objective: float
    stationarity: float

    @property
    def merged(self) -> bool:
        """Whether all minority classes share one classifier."""
        return self.minority_spread == 0

    @property
    def logits(self) -> Array:
        """Z (K, K), majority first; column y holds the mean logits of class y."""
        sizes = (self.majority, self.minority)
        K = sum(sizes)
        group = np.repeat([0, 1], sizes)
        cross = np.sqrt(np.array(sizes[::-1]) / K) * np.array([1, -1])
        root = np.sqrt(np.array(sizes))
        blocks = np.outer(cross / root, np.array(self.between) / root)
        found: Array = blocks[np.ix_(group, group)]
        spreads = np.array([self.majority_spread, self.minority_spread])
        same = (group[:, None] == group[None]) * (spreads / sizes)[group]
        return found + np.diag(spreads[group]) - same


def two_groups(
    majority: int,
    minority: int,
    ratio: float,
    *,
    weight_energy: float = 1.0,
    feature_energy: float = 1.0,
) -> TwoGroups:
    """Solve the layer-peeled model with cross-entropy for two groups of classes.

    majority: K_A ≥ 2. minority: K_B ≥ 2. ratio: R = n_A / n_B ≥ 1, any real number.
    weight_energy, feature_energy: E_W, E_H > 0. Raises ValueError outside these ranges.
    """
    radius = _radius(majority, minority, weight_energy, feature_energy)
    if not (ratio >= 1 and math.isfinite(ratio)):
        raise ValueError(f"ratio={ratio}; n_A/n_B ≥ 1 is needed (swap the groups)")
    found = _solve(majority, minority, ratio, radius, merged=True)
    if found.multiplier >= found.minority_share:
        return found
    return _solve(majority, minority, ratio, radius, merged=False)


def collapse_ratio(
    majority: int, minority: int, *, weight_energy: float = 1.0, feature_energy: float = 1.0
) -> float:
    """R*: the smallest n_A/n_B at which all minority classes share one classifier.

    Below R* they stay apart, from R* on they coincide: root of μ(R) = π_B(R), μ the multiplier of
    the problem in which they are merged. ∞ if none below 1e12. Parameters and errors as in
    `two_groups`. [Derived here from Fang et al. 2021, whose theorem states the limit R → ∞.]
    """
    from scipy.optimize import brentq

    radius = _radius(majority, minority, weight_energy, feature_energy)

    def excess(log_ratio: float) -> float:
        found = _solve(majority, minority, math.exp(log_ratio), radius, merged=True)
        return math.log(found.multiplier / found.minority_share)

    low, high = 0.0, 1.0
    if excess(low) >= 0:
        return 1.0
    while excess(high) < 0:
        low, high = high, 2 * high
        if high > math.log(LARGEST_RATIO):
            return math.inf
    return math.exp(brentq(excess, low, high, xtol=1e-12))


def train_two_groups(
    majority: int,
    minority: int,
    ratio: float,
    *,
    weight_energy: float = 1.0,
    feature_energy: float = 1.0,
    seed: int = 0,
    width: int | None = None,
) -> tuple[Solution, float]:
    """Brute force: train W and H of the same problem from a random start.

    One sample a class, weighed by K π_k, so that any real ratio can be trained; constraints of the
    layer-peeled model do not see counts. Returns the solution and the minority's deviation, the
    largest ‖w_k - mean of minority rows‖: 0 once merged. Errors as in `two_groups`.
    """
    from ncollapse.theory.solvers.descent import descend

    radius = _radius(majority, minority, weight_energy, feature_energy)
    if not (ratio >= 1 and math.isfinite(ratio)):
        raise ValueError(f"ratio={ratio}, radius {radius:.3g}; n_A/n_B ≥ 1 is needed")
    K = majority + minority
    total = majority * ratio + minority
    weights = (K * ratio / total,) * majority + (K / total,) * minority
    problem = LPM((1,) * K, weight_energy, feature_energy, CrossEntropy(weight=weights))
    if width is not None:
        problem = replace(problem, num_features=width)
    found = descend(problem, seed=seed, tolerance=1e-10)
    weight = found.geometry.weight
    assert weight is not None
    rows = weight[majority:]
    return found, float((rows - rows.mean(0)).norm(dim=1).max())


def _radius(majority: int, minority: int, weight_energy: float, feature_energy: float) -> float:
    for name, count in (("majority", majority), ("minority", minority)):
        if count < 2:
            raise ValueError(f"{name}={count} classes; at least 2 are needed")
    for name, energy in (("weight_energy", weight_energy), ("feature_energy", feature_energy)):
        if not (energy > 0 and math.isfinite(energy)):
            raise ValueError(f"{name}={energy}; a positive number is needed")
    return (majority + minority) * math.sqrt(weight_energy * feature_energy)


def _smooth(
    majority: int, minority: int, ratio: float, variables: Array
) -> tuple[float, Array, Array]:
    """F, its gradient and Hessian in (α_A, α_B, x_A, x_B); columns of a group are alike."""
    sizes = np.array([majority, minority], dtype=np.float64)
    K = sizes.sum()
    cross = np.sqrt(sizes[::-1] / K) * np.array([1, -1])
    root = np.sqrt(sizes)
    total = majority * ratio + minority
    weights = (majority * ratio / total, minority / total)
    value, gradient, hessian = 0.0, np.zeros(4), np.zeros((4, 4))
    for g in (0, 1):
        # Rows: logits of the own class, of others in the group, of the other group.
        jacobian = np.zeros((3, 4))
        jacobian[0, g], jacobian[1, g] = 1 - 1 / sizes[g], -1 / sizes[g]
        jacobian[:2, 2 + g] = cross[g] / sizes[g]
        jacobian[2, 2 + g] = cross[1 - g] / (root[0] * root[1])
        many = np.array([1, sizes[g] - 1, sizes[1 - g]])
        logits = jacobian @ variables
        top = logits.max()
        mass = many * np.exp(logits - top)
        probability = mass / mass.sum()
        # Where the own logit leads, the loss has all digits of the others' share.
        leads = logits[0] == top
        own = float(np.log1p(mass[1:].sum()) if leads else top + np.log(mass.sum()) - logits[0])
        # Where the own class is sure, 1 - p is the sum of the others.
        residual = probability.copy()
        residual[0] = -probability[1:].sum()
        value += weights[g] * own
        gradient += weights[g] * (jacobian.T @ residual)
        curvature = np.diag(probability) - np.outer(probability, probability)
        hessian += weights[g] * (jacobian.T @ curvature @ jacobian)
    return value, gradient, hessian


def _solve(majority: int, minority: int, ratio: float, radius: float, merged: bool) -> TwoGroups:
    """The constraint is active, so α_A = (T - (K_B - 1) α_B - ‖x‖)/(K_A - 1) is put in; Newton's
    method with backtracking on (α_B, x), or on x alone when merged."""
    first = 1 if merged else 0
    lead = majority - 1

    def full(free: Array) -> Array:
        spread, x = (0.0, free) if merged else (free[0], free[1:])
        alpha = (radius - (minority - 1) * spread - float(np.linalg.norm(x))) / lead
        return np.array([alpha, spread, *x])

    def reduced(free: Array) -> tuple[float, Array, Array]:
        variables = full(free)
        value, gradient, hessian = _smooth(majority, minority, ratio, variables)
        x = variables[2:]
        length = float(np.linalg.norm(x))
        unit = x / length
        slope = np.zeros((4, 3))
        slope[0] = np.array([-(minority - 1), -unit[0], -unit[1]]) / lead
        slope[1:] = np.eye(3)
        bend = np.zeros((3, 3))
        bend[1:, 1:] = -(np.eye(2) - np.outer(unit, unit)) / length / lead
        grad = slope.T @ gradient
        hess = slope.T @ hessian @ slope + gradient[0] * bend
        return value, grad[first:], hess[first:, first:]

    corner = np.array([radius / lead, 0.0, 0.0, 0.0])
    value, gradient, _ = _smooth(majority, minority, ratio, corner)
    if merged and np.linalg.norm(gradient[2:]) <= -gradient[0] / lead:
        # All of the radius goes to the majority: ‖x‖ has its kink there, and this is its optimum.
        return _finish(majority, minority, ratio, radius, corner, 0.0)
    # Descent from below F(x = 0) never comes near the kink again.
    if merged:
        toward = -gradient[2:] / np.linalg.norm(gradient[2:])
        starts = [radius * 0.5**k * toward for k in range(1, 50)]
    else:
        even = radius / (majority + minority - 1)
        shape = np.array([minority, majority]) / (majority + minority)
        x = even * np.sqrt(shape) * np.array([1, -1])
        below = np.array(_solve(majority, minority, ratio, radius, merged=True).between)
        starts = [np.array([s * even, *(s * x + (1 - s) * below)]) for s in 0.5 ** np.arange(40)]
    free = min(starts, key=lambda start: reduced(start)[0] if full(start)[0] > 0 else math.inf)
    for _ in range(200):
        value, gradient, hessian = reduced(free)
        if np.abs(gradient).max() < 1e-16 * value:
            break
        level = 1e-18 * float(np.trace(np.abs(hessian)))
        step = -np.linalg.solve(hessian + level * np.eye(len(free)), gradient)
        if gradient @ step > 0:
            step = -gradient
        if -float(gradient @ step) < 1e-13 * value:
            # Values no longer tell steps apart: go on for as long as the gradient shrinks.
            there = free + step
            if full(there)[0] > 0 and np.abs(reduced(there)[1]).max() < np.abs(gradient).max():
                free = there
                continue
            break
        length = 1.0
        while length > 1e-14:
            moved = free + length * step
            inside = full(moved)[0] > 0 and (merged or moved[0] > 0)
            if inside and reduced(moved)[0] <= value + 1e-4 * length * float(gradient @ step):
                break
            length /= 2
        else:
            break
        free = free + length * step
    rest = float(np.abs(reduced(free)[1]).max())
    return _finish(majority, minority, ratio, radius, full(free), rest)


def _finish(
    majority: int, minority: int, ratio: float, radius: float, variables: Array, rest: float
) -> TwoGroups:
    value, gradient, _ = _smooth(majority, minority, ratio, variables)
    return TwoGroups(
        majority=majority,
        minority=minority,
        ratio=ratio,
        radius=radius,
        majority_spread=float(variables[0]),
        minority_spread=float(variables[1]),
        between=(float(variables[2]), float(variables[3])),
        multiplier=-float(gradient[0]) / (majority - 1),
        minority_share=1 / (majority * ratio + minority),
        objective=value,
        stationarity=rest,
    )
