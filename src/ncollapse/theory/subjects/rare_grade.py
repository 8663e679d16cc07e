"""How rare a grade may become before learned thresholds take its interval away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from ncollapse.links import check_link, check_thresholds, named_grades, spaced
from ncollapse.theory.solvers.ordinal import learned, placed

# Ratios beyond it are not looked at.
RAREST = 1e6


@dataclass(frozen=True, eq=False)
class RareGrade:
    """One grade R times rarer than each of the others, thresholds learned or fixed.

    width: of its interval at the optimum; position: its place z*; named: whether it is the most
    likely grade at some score.
    """

    ratio: float
    width: float
    position: float
    named: bool


def rare_grade(
    grades: int,
    rare: int,
    ratio: float,
    *,
    learn: bool,
    link: str = "logit",
    thresholds: Sequence[float] | None = None,
    strength: float = 1e-2,
) -> RareGrade:
    """The optimum with grade `rare` ratio times rarer than the others, strength = √(λ_h λ_w).

    Raises ValueError for a grade that is not there, and a ratio or strength that is not positive.
    """
    if not 0 <= rare < grades:
        raise ValueError(f"rare={rare} is none of the grades 0..{grades - 1}")
    if not (0 < ratio < math.inf and 0 < strength < math.inf):
        raise ValueError(f"ratio={ratio}, strength={strength}; positive numbers are needed")
    ends = torch.tensor(
        spaced(grades) if thresholds is None else check_thresholds(thresholds, grades),
        dtype=torch.float64,
    )
    share = torch.ones(grades, dtype=torch.float64)
    share[rare] = 1 / ratio
    found = (learned if learn else placed)(check_link(link), ends, share / share.sum(), strength)
    return RareGrade(
        ratio,
        float(found.ends[rare + 1] - found.ends[rare]),
        float(found.z[rare]),
        named_grades(link, found.ends)[rare],
    )


def merging_ratio(
    grades: int,
    rare: int,
    *,
    learn: bool,
    link: str = "logit",
    thresholds: Sequence[float] | None = None,
    strength: float = 1e-2,
) -> float | None:
    """The ratio R from which on the rare grade is the most likely one at no score, by bisection to
    a thousandth; None where it stays named up to a million, as it does with fixed thresholds whose
    intervals are wide enough (they do not depend on counts).

    The width itself is never 0 (the loss -log P would be infinite): it falls like 1/R. Derived,
    solved numerically.
    """
    at = partial(
        rare_grade, grades, rare, learn=learn, link=link, thresholds=thresholds, strength=strength
    )
    if at(RAREST).named:
        return None
    low, high = 0.0, math.log(RAREST)
    if not at(1.0).named:
        return 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if at(math.exp(middle)).named else (low, middle)
    return math.exp(high)
