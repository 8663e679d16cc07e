"""Cumulative links: ordered grades as intervals of one latent score.

A sample of score z = wᵀh is of a grade up to q with chance g(b_q - z), so of grade q with
P(q|z) = g(b_q - z) - g(b_{q-1} - z), for thresholds b_0 < … < b_Q that are finite at both ends.
Heads and losses train with it, theory solves for it, metrics read positions by it: one definition.
Grades are counted from 0: grade y lies between thresholds[y] and thresholds[y + 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.special import log_ndtr

Ends = Float[Tensor, "*shape"]
# Links whose g(-x) = 1 - g(x).
SYMMETRIC = ("logit", "probit")
LINKS = (*SYMMETRIC, "cloglog", "loglog")
# Width of an interval unless thresholds are given: wide enough that grades are told apart.
WIDTH = 4.0
# Scores an interval that are looked at for the most likely grade.
LOOKS = 201
# exp is continued by its tangent from here on: float32 holds no exponent past 88.
STEEP = 60.0
# Below it log((1 - e^-t)/t) is -t/2.
SHORT = 1e-6
# Below it the next term of a normal interval, (width × middle)⁴/1920, is rounding.
NARROW = 1e-3


def log_interval(link: str, low: Ends, width: Ends) -> Ends:
    """log(g(low + width) - g(low)) without cancellation, at either tail and for any width > 0.

    logit: g = 1/(1 + e^-x). probit: the normal distribution function. cloglog: 1 - exp(-e^x).
    loglog: exp(-e^-x). The tail of the two last, where losses grow exponentially, goes on along its
    tangent from an exponent of 60 on. Raises ValueError for another link.
    """
    high = low + width
    if link == "logit":
        return functional.logsigmoid(high) + functional.logsigmoid(-low) + _log1mexp(width)
    if link == "probit":
        # On the side where both are small: their difference keeps its digits there.
        flip = low + high > 0
        below = log_ndtr(torch.where(flip, -high, low))
        above = log_ndtr(torch.where(flip, -low, high))
        apart = above + _log1mexp((above - below).clamp_min(torch.finfo(low.dtype).eps))
        # Of a narrow interval the density at its middle, whose digits a difference would lose.
        middle = low + width / 2
        narrow = width * middle.abs().clamp_min(1) < NARROW
        curved = torch.where(narrow, (middle.square() - 1) * width.square() / 24, 0)
        return torch.where(narrow, _log_normal(middle) + width.log() + curved, apart)
    if link == "cloglog":
        log_t = high + _log1mexp(width)
        t = _steep_exp(log_t)
        near = log_t - t / 2
        far = _log1mexp(t.clamp_min(SHORT))
        return torch.where(t < SHORT, near, far) - _steep_exp(low)
    if link == "loglog":
        return log_interval("cloglog", -high, width)
    raise ValueError(f"link={link!r} is unknown; one of {', '.join(LINKS)} is needed")


def log_density(link: str, x: Ends) -> tuple[Ends, Ends]:
    """log g'(x) and its slope g''/g'; the slope falls, as all four densities are log-concave."""
    if link == "logit":
        return functional.logsigmoid(x) + functional.logsigmoid(-x), -torch.tanh(x / 2)
    if link == "probit":
        return _log_normal(x), -x
    if link == "cloglog":
        return x - x.exp(), 1 - x.exp()
    if link == "loglog":
        return -x - (-x).exp(), (-x).exp() - 1
    raise ValueError(f"link={link!r} is unknown; one of {', '.join(LINKS)} is needed")


def _log_normal(x: Tensor) -> Tensor:
    """log φ(x)."""
    return -x.square() / 2 - 0.5 * math.log(2 * math.pi)


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^-x) of x > 0."""
    return torch.log(-torch.expm1(-x))


def _steep_exp(x: Tensor) -> Tensor:
    """exp, continued by its tangent from `STEEP` on."""
    held = x.clamp_max(STEEP)
    return held.exp() * (1 + (x - held))


# ---- thresholds ---------------------------------------------------------------------------------
def spaced(grades: int, width: float = WIDTH) -> tuple[float, ...]:
    """Q + 1 evenly spaced thresholds about 0, `width` apart. Raises ValueError for fewer than two
    grades and a width that is not positive."""
    if grades < 2:
        raise ValueError(
            f"{grades} grade{'s' * (grades != 1)}; at least 2 are needed to be in an order"
        )
    if not 0 < width < math.inf:
        raise ValueError(f"width={width}; a positive finite number is needed")
    return tuple(width * (q - grades / 2) for q in range(grades + 1))


def check_thresholds(values: Any, grades: int | None = None) -> tuple[float, ...]:
    """Thresholds as numbers. Raises ValueError where they are not finite, do not increase, or are
    not one more than the grades."""
    found = tuple(float(value) for value in values)
    if len(found) < 3 or (grades is not None and len(found) != grades + 1):
        grades = max(2, len(found) - 1) if grades is None else grades
        raise ValueError(
            f"{len(found)} thresholds were given; {grades} grades lie between {grades + 1} of "
            f"them, the ends included: pass as many, such as {list(spaced(grades))}"
        )
    if any(math.isnan(value) for value in found):
        raise ValueError("a threshold is NaN; finite numbers that increase are needed")
    if not all(math.isfinite(value) for value in found):
        raise ValueError(
            "thresholds are infinite: the loss of an end grade then falls for ever, and the grade "
            "runs off along the latent line as far as decay lets it; pass finite ends, for example "
            f"{-2 * (len(found) - 1)} and {2 * (len(found) - 1)}"
        )
    for q, (left, right) in enumerate(pairwise(found)):
        if not left < right:
            raise ValueError(
                f"thresholds must increase, and {right:g} (number {q + 1}) follows {left:g}; sort "
                "them, and leave out those that are equal"
            )
    return found


def check_link(link: str) -> str:
    """The link. Raises ValueError for an unknown one; cauchit says why it is none."""
    if link == "cauchit":
        raise ValueError(
            "link='cauchit' has a density that is not log-concave, so that the loss is not convex "
            f"and nothing holds of its optimum; one of {', '.join(LINKS)} is needed"
        )
    if link not in LINKS:
        raise ValueError(f"link={link!r} is unknown; one of {', '.join(LINKS)} is needed")
    return link


def limits(link: str, thresholds: Float[Tensor, " ends"]) -> Float[Tensor, " grades"]:
    """z⁰_q, where each grade's loss is least: what positions tend to as decay goes to 0.

    Midpoints of the intervals for symmetric links; b_{q-1} - log(Δ/(e^Δ - 1)) for cloglog, with
    Δ = b_q - b_{q-1}; b_q + log(Δ/(e^Δ - 1)) for loglog: the root of g'(b_q - z) = g'(b_{q-1} - z).
    """
    check_link(link)
    low, high = thresholds[:-1], thresholds[1:]
    if link in SYMMETRIC:
        return low + (high - low) / 2
    width = high - low
    shift = width.log() - width - _log1mexp(width)
    return low - shift if link == "cloglog" else high + shift


# ---- the loss -----------------------------------------------------------------------------------
def log_probability(
    link: str,
    thresholds: Float[Tensor, " ends"],
    scores: Float[Tensor, "*batch"],
    labels: Tensor,
) -> Float[Tensor, "*batch"]:
    """log P(y|z) of every sample. Labels must lie in 0..Q-1 (`check_grades`)."""
    low, width = thresholds[:-1], thresholds.diff()
    return log_interval(link, low[labels] - scores, width[labels])


def log_probabilities(
    link: str, thresholds: Float[Tensor, " ends"], scores: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch grades"]:
    """log P(q|z) of every grade: (…, Q). With finite ends they sum to less than 1: what is left
    lies beyond the ends, and is what keeps the end grades from running off."""
    low, width = thresholds[:-1], thresholds.diff()
    return log_interval(link, low - scores[..., None], width.expand(*scores.shape, -1))


def check_grades(labels: Tensor, grades: int) -> None:
    """ValueError for labels that are no integers in 0..Q-1."""
    if labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise ValueError(
            f"labels are {labels.dtype}; grades are integers 0..{grades - 1}, lowest first"
        )
    wrong = ((labels < 0) | (labels >= grades)).nonzero()
    if wrong.numel():
        row = int(wrong[0, 0])
        raise ValueError(
            f"label {int(labels.flatten()[row])} of sample {row} lies outside the {grades} grades "
            f"0..{grades - 1}; count grades from 0 in their order, or pass one more threshold"
        )


def named_grades(link: str, thresholds: Float[Tensor, " ends"]) -> tuple[bool, ...]:
    """Whether each grade is the most likely one at some score. A grade whose interval is narrow for
    those beside it is named nowhere: logit, between wide neighbours, below 2 log 2 = 1.39."""
    low, high = thresholds[:-1], thresholds[1:]
    steps = torch.linspace(0, 1, LOOKS, dtype=thresholds.dtype, device=thresholds.device)
    inside = (low[:, None] + (high - low)[:, None] * steps).flatten()
    span = thresholds[-1] - thresholds[0]
    beyond = torch.cat([thresholds[:1] - span * steps, thresholds[-1:] + span * steps])
    places = torch.cat([inside, beyond, limits(link, thresholds)])
    best = log_probabilities(link, thresholds, places).argmax(1)
    return tuple(bool((best == q).any()) for q in range(len(low)))


@dataclass(frozen=True)
class CumulativeLink:
    """-log P(y|z) of one latent score a sample; convex in z.

    thresholds: Q + 1 finite numbers that increase. link: logit, probit, cloglog or loglog. Called
    with scores (samples) or (samples, 1) and grades 0..Q-1 it returns one number a sample, ≥ 0; the
    ideal is that of the interval's width, which no score can pass. Raises ValueError for thresholds
    or links that do not serve, and grades out of range.
    Sources: McCullagh 1980 (cumulative links); Ma, Obuchi, Tanaka 2025 (their collapse) [memory].
    """

    thresholds: tuple[float, ...]
    link: str = "logit"

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", check_thresholds(self.thresholds))
        check_link(self.link)

    @property
    def name(self) -> str:
        return f"cumulative {self.link} of {self.grades} grades"

    @property
    def weight(self) -> tuple[float, ...] | None:
        """None: it knows no class weights."""
        return None

    @property
    def grades(self) -> int:
        """Q."""
        return len(self.thresholds) - 1

    @cached_property
    def ends(self) -> Tensor:
        """Thresholds (Q + 1) in float64."""
        return torch.tensor(self.thresholds, dtype=torch.float64)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        scores = flat_scores(logits)
        check_grades(labels, self.grades)
        return -log_probability(self.link, self.ends.to(scores), scores, labels)

    # ---- what theory asks of it ------------------------------------------------------------------
    def derivatives(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ℓ_q(z_q), its slope and its curvature, (Q) each: one score a grade, float64."""
        return derivatives(self.link, self.ends, z)


def flat_scores(scores: Tensor) -> Tensor:
    """Scores (samples) of (samples) or (samples, 1). Raises ValueError for other shapes."""
    if scores.dim() == 2 and scores.shape[1] == 1:
        return scores[:, 0]
    if scores.dim() != 1:
        raise ValueError(
            f"scores have shape {tuple(scores.shape)}; one latent score a sample is needed, "
            "(samples) or (samples, 1)"
        )
    return scores


def derivatives(
    link: str, ends: Float[Tensor, " ends"], z: Float[Tensor, " grades"]
) -> tuple[Tensor, Tensor, Tensor]:
    """ℓ_q = -log P(q|z_q), ℓ' = (g'(b_q - z) - g'(b_{q-1} - z))/P and
    ℓ'' = ℓ'² - Σ ± g''/P, (Q) each."""
    low, high = ends[:-1] - z, ends[1:] - z
    log_p = log_interval(link, low, ends.diff())
    (above, bend_above), (below, bend_below) = log_density(link, high), log_density(link, low)
    right, left = (above - log_p).exp(), (below - log_p).exp()
    slope = right - left
    return -log_p, slope, slope.square() - right * bend_above + left * bend_below
