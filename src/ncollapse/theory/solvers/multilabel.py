"""Pick-all-labels cross-entropy on free features: norms and the scale C_m of every multiplicity.

    f = (1/N) Σ_i Σ_{k∈S_i} -log softmax(W h_i)_k + λ_W/2 ‖W‖² + λ_H/2 ‖H‖²

With label sets balanced within each multiplicity m, W is a simplex of rows ‖w_k‖² = ρ, features of
a set S are t_m Σ_{k∈S} w_k, and all is a function of the gaps β_m between logits in S and outside
(derived; the form of the optimum: Li et al. 2024, abstract read, checked numerically):

    f(ρ) = Σ_m π_m min_β [m log(m + (K-m) e^{-β}) + Nλ_H/2 β² m(K-m)(K-1)/(ρK²)] + λ_W Kρ/2
    e^{-β_m}/(m + (K-m) e^{-β_m}) = Nλ_H β_m (K-1)/(ρK²),      C_m = β_m/β_1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PickAll:
    """objective: f. weight_square: ρ = ‖w_k‖², 0 where everything vanishes. gaps: β_m by m.
    scales: C_m = β_m/β_1 by m, NaN where everything vanishes. strength: Nλ_H(K-1)/(ρK²), which
    sets all gaps."""

    objective: float
    weight_square: float
    gaps: dict[int, float]
    scales: dict[int, float]
    strength: float

    def feature_norm(self, m: int, num_classes: int) -> float:
        """‖h‖ of a sample with m labels: β_m √(m(K-m)(K-1)/ρ)/K."""
        if self.weight_square == 0:
            return 0.0
        size = m * (num_classes - m) * (num_classes - 1) / self.weight_square
        return self.gaps[m] * math.sqrt(size) / num_classes


def pick_all(
    counts: Mapping[int, int], num_classes: int, weight_decay: float, feature_decay: float
) -> PickAll:
    """The optimum for `counts` samples by multiplicity, in the symmetric form above.

    Raises ValueError for fewer than two labels, multiplicities outside 1..K, counts or decays that
    are not positive.
    """
    K = num_classes
    if K < 2:
        raise ValueError(f"num_classes={K}; at least two labels are needed")
    wrong = [m for m, n in counts.items() if not 1 <= m <= K or n < 1]
    if wrong or not counts:
        raise ValueError(
            f"counts={dict(counts)}; samples (at least 1) by number of labels, 1 to {K}, are needed"
        )
    for name, value in (("weight_decay", weight_decay), ("feature_decay", feature_decay)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name}={value}; a positive number is needed")
    from scipy.optimize import minimize_scalar

    N = sum(counts.values())
    shares = {m: n / N for m, n in counts.items()}
    pull = N * feature_decay * (K - 1) / K**2

    def total(log_rho: float) -> float:
        rho = math.exp(log_rho)
        found = 0.5 * weight_decay * K * rho
        for m, share in shares.items():
            beta = gap(pull / rho, m, K)
            loss = m * math.log(m + (K - m) * math.exp(-beta))
            found += share * (loss + 0.5 * pull / rho * beta**2 * m * (K - m))
        return found

    nothing = sum(share * m * math.log(K) for m, share in shares.items())
    # From far below where features are worth their decay to where the weight's outgrows the loss.
    low, high = -30.0, math.log(2 * nothing / (weight_decay * K)) + 1
    grid = [low + (high - low) * i / 240 for i in range(241)]
    best = min(range(len(grid)), key=lambda i: total(grid[i]))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    done = minimize_scalar(total, bounds=ends, method="bounded", options={"xatol": 1e-12})
    if not done.fun < nothing * (1 - 1e-13):
        zero = dict.fromkeys(sorted(counts), 0.0)
        return PickAll(nothing, 0.0, zero, dict.fromkeys(zero, math.nan), math.inf)
    rho = math.exp(float(done.x))
    gaps = {m: gap(pull / rho, m, K) for m in sorted(counts)}
    return PickAll(float(done.fun), rho, gaps, scales(pull / rho, K, tuple(gaps)), pull / rho)


def gap(strength: float, m: int, num_classes: int) -> float:
    """β_m: the root of e^{-β}/(m + (K-m) e^{-β}) = strength β; 0 for m = K."""
    if m == num_classes:
        return 0.0
    from scipy.optimize import brentq

    def off(beta: float) -> float:
        return strength * beta - 1 / (m * math.exp(beta) + num_classes - m)

    # The right side is at most 1/K and falls.
    return float(brentq(off, 0.0, min(1 / (num_classes * strength), 690.0) + 1e-300, xtol=1e-15))


def scales(strength: float, num_classes: int, sizes: tuple[int, ...]) -> dict[int, float]:
    """C_m = β_m/β_1 of these multiplicities."""
    first = gap(strength, 1, num_classes)
    return {m: gap(strength, m, num_classes) / first for m in sizes}


def scales_from_gap(first: float, num_classes: int, sizes: tuple[int, ...]) -> dict[int, float]:
    """C_m predicted from one measured number, the gap β_1 of samples with one label: it fixes the
    strength, which sets all others. Raises ValueError for a gap that is not positive."""
    if not (first > 0 and math.isfinite(first)):
        raise ValueError(f"the gap of one label is {first}; a positive number is needed")
    strength = 1 / (first * (math.exp(min(first, 690.0)) + num_classes - 1))
    return scales(strength, num_classes, sizes)
