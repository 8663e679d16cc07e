"""The error of nearest centres of m shots a class, from moments alone: bounds and an estimate.

Class i has mean μ_i, covariance S_i, v_i = tr S_i, M4_i = E‖h - μ_i‖⁴; D = μ_i - μ_j, d = ‖D‖ and
u = D/d of a pair. The centres of m shots miss the means by e_i, e_j. A test sample μ_i + ξ goes to
j where g = ‖h - m_j‖² - ‖h - m_i‖² < 0, and g has the exact moments

    E g   = d² + (v_j - v_i)/m
    Var g = 4 d² uᵀS_iu + (4/m) tr S_i(S_i + S_j) + 4 d² uᵀS_ju/m - 4 E[(D·ξ_j)‖ξ_j‖²]/m²
    + var‖e_i‖² + var‖e_j‖²,    var‖e‖² = (M4 - v² + 2(m-1) tr S²)/m³

so that Cantelli's inequality bounds the error of the pair by Var/(Var + E²), and 1 where E ≤ 0
(`bound_sharp`). A union over j and the mean over i bound that of all classes. Three other numbers
stand beside it: the published bound of 2026, which the sharp one never exceeds where it says
anything; the one of 2022, which needs CDNV < 1/(16(C-1)) to say anything; and the tail of a normal
g, which is no bound. All need the moments of the population: those of a finite set are exact for
shots and test samples that are drawn from that set with replacement.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.fourth import HigherMoments

PairMatrix = Float[Tensor, "classes classes"]
MOST_SHOTS = 10_000


def cdnv(moments: HigherMoments) -> float:
    """Mean over ordered pairs of (v_i + v_j)/(2 d²): `nc1_cdnv`. ≥ 0, ideal 0, infinite where two
    means coincide. Source: Galanti, György, Hutter 2022."""
    return _over_pairs(_sums(moments.spreads) / (2 * moments.squares))


def directional_cdnv(moments: HigherMoments) -> float:
    """Mean over ordered pairs of uᵀS_iu/d²: variance along the line to the other mean alone.

    ≥ 0, ideal 0, at most `cdnv` times two; S_i stands for the class of the test sample, so a pair
    has two values. Source: Luthra, Salunkhe, Galanti 2026 (definition read in words).
    """
    square = moments.squares
    return _over_pairs(moments.along / square**2)


def bound_published(moments: HigherMoments, shots: int) -> float:
    """Σ_j≠i [4 Ṽ + (√A_T + √A_S + √A_Q)²]/(1 + (v_j - v_i)/(m d²))², mean over i.

    V = (v_i + v_j)/d², Ṽ = uᵀS_iu/d², Θ = (M4_i + M4_j)/d⁴; A_T = (4/m)(V² + V/4), A_S = V/m,
    A_Q = (Θ + 2(m-1)V²)/m³. In [0, ∞]; a bound where E g > 0 for all pairs, and above 1 elsewhere.
    Stated for m ≥ 10, proved here for every m. Source: Luthra, Salunkhe, Galanti 2026 (authors'
    evaluation code read).
    """
    m, square = _checked(shots), moments.squares
    V = _sums(moments.spreads) / square
    theta = _sums(moments.fourth) / square**2
    parts = (4 / m * (V * V + V / 4), V / m, (theta + 2 * (m - 1) * V * V) / m**3)
    noise = sum((part.sqrt() for part in parts), torch.zeros_like(V)) ** 2
    shrink = 1 + _differences(moments.spreads) / (m * square)
    term = (4 * moments.along / square**2 + noise) / shrink**2
    # Where the mean of the margin is not positive the square hides that nothing is bounded.
    term = torch.where(shrink > 0, term, term.clamp_min(1))
    return _union(term)


def bound_sharp(moments: HigherMoments, shots: int) -> float | None:
    """Cantelli's inequality on the exact moments of the margin; None where `crossed` is not held.

    In [0, C - 1]. Derived here; below the published bound wherever that is below 1.
    """
    found = margin(moments, shots)
    if found is None:
        return None
    mean, variance = found
    return _union(torch.where(mean > 0, variance / (variance + mean**2), 1.0))


def estimate_normal(moments: HigherMoments, shots: int) -> float | None:
    """½ erfc(E/√(2 Var)) in Cantelli's place: no bound, but near the error. None as above."""
    found = margin(moments, shots)
    if found is None:
        return None
    mean, variance = found
    sure = variance > 0
    ratio = mean / torch.where(sure, 2 * variance, 1.0).sqrt()
    tail = 0.5 * torch.special.erfc(ratio)
    return _union(torch.where(sure, tail, 0.5 - 0.5 * mean.sign()))


def bound_cdnv(moments: HigherMoments, shots: int) -> float:
    """16 (C-1)(1 + 1/m) CDNV: shown beside the others because it is above 1, and so says nothing,
    on all but the most collapsed features. Source: Galanti, György, Hutter 2022 (remembered, not
    read)."""
    C, m = moments.num_classes, _checked(shots)
    return 16 * (C - 1) * (1 + 1 / m) * cdnv(moments)


def margin(moments: HigherMoments, shots: int) -> tuple[PairMatrix, PairMatrix] | None:
    """Exact mean and variance of g for shots and test samples of class i against j, (C, C) each;
    diagonals mean nothing. None where `crossed` is not held."""
    m, cross = _checked(shots), moments.crossed
    if cross is None:
        return None
    own = cross.diagonal()
    mean = moments.squares + _differences(moments.spreads) / m
    wander = (moments.fourth - moments.spreads**2 + 2 * (m - 1) * own) / m**3
    variance = (
        4 * moments.along
        + 4 / m * (own[:, None] + cross)
        + _sums(wander)
        # D of the pair (j, i) is -D: its square form is that of class j along the same line.
        + 4 / m * moments.along.T
        - 4 * moments.skew / m**2
    )
    return mean, variance.clamp_min(0)


@dataclass(frozen=True)
class FewShot:
    """What moments say of m shots: `published`, `sharp` and `cdnv` are bounds on the error (those
    above 1 say nothing), `normal` is an estimate and no bound."""

    shots: int
    published: float
    sharp: float | None
    normal: float | None
    cdnv: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def few_shot_bounds(moments: HigherMoments, shots: int) -> FewShot:
    """The four numbers for m shots a class. Raises ValueError for fewer than one shot or two
    classes."""
    _two(moments)
    return FewShot(
        shots,
        bound_published(moments, shots),
        bound_sharp(moments, shots),
        estimate_normal(moments, shots),
        bound_cdnv(moments, shots),
    )


@dataclass(frozen=True)
class Needed:
    """How many shots a class bring the error of nearest centres to `error`: `guaranteed` by the
    sharp bound, `likely` by the normal estimate; None where no number of shots does. floor, likely
    floor: what bound and estimate are with endless shots."""

    error: float
    guaranteed: int | None
    likely: int | None
    floor: float
    likely_floor: float

    def __str__(self) -> str:
        def said(count: int | None, end: float) -> str:
            if count is not None:
                return f"{count} shot{'s' * (count > 1)} a class"
            return f"no number of shots (endless ones: {end:.2g})"

        return (
            f"error ≤ {self.error:g}: guaranteed by {said(self.guaranteed, self.floor)}, "
            f"likely by {said(self.likely, self.likely_floor)}"
        )


def shots_needed(moments: HigherMoments, error: float, *, most: int = MOST_SHOTS) -> Needed:
    """The fewest shots a class, up to `most`, after which bound and estimate stay below an error.

    Raises ValueError for an error outside (0, 1), for fewer than two classes, and where `crossed`
    is not held.
    """
    _two(moments)
    if not 0 < error < 1:
        raise ValueError(f"error={error}; a number between 0 and 1 is needed")
    if moments.crossed is None:
        raise ValueError(
            "second moments of the classes were not kept, and the number of shots needs them; "
            "collect them in mode 'full'"
        )
    # The margin of endless shots.
    mean, variance = moments.squares, 4 * moments.along
    sure = variance > 0
    floor = _union(torch.where(mean > 0, variance / (variance + mean**2), 1.0))
    ratio = mean / torch.where(sure, 2 * variance, 1.0).sqrt()
    tail = _union(torch.where(sure, 0.5 * torch.special.erfc(ratio), 0.5 - 0.5 * mean.sign()))
    return Needed(
        error,
        _fewest(lambda m: bound_sharp(moments, m), error, most),
        _fewest(lambda m: estimate_normal(moments, m), error, most),
        floor,
        tail,
    )


def _fewest(value: Any, error: float, most: int) -> int | None:
    """By bisection: more shots make centres surer, so the value falls; at a few shots of classes of
    very unequal spread it need not, and a smaller number may do there."""
    if value(most) > error:
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if value(middle) <= error else (middle, high)
    return high


# ---- pairs --------------------------------------------------------------------------------------
def _checked(shots: int) -> int:
    if shots < 1:
        raise ValueError(f"shots={shots}; at least one sample a class is needed")
    return shots


def _two(moments: HigherMoments) -> None:
    if moments.num_classes < 2:
        raise ValueError(
            f"the target holds {moments.num_classes} class; few-shot error is about telling at "
            "least two apart"
        )


def _sums(values: Tensor) -> PairMatrix:
    return values[:, None] + values


def _differences(values: Tensor) -> PairMatrix:
    """v_j - v_i at (i, j)."""
    return values - values[:, None]


def _union(term: PairMatrix) -> float:
    """Sum over j ≠ i, mean over i; NaN of coinciding means is infinite."""
    found = term.masked_fill(torch.eye(len(term), dtype=torch.bool), 0.0)
    value = float(found.sum() / len(term))
    return math.inf if math.isnan(value) else value


def _over_pairs(term: PairMatrix) -> float:
    return _union(term) / (len(term) - 1)
