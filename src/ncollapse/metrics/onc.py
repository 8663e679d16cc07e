"""ONC, collapse of ordered grades: one point a grade, on one line, in order, in known places.

Ma, Obuchi, Tanaka 2025 name ONC1 to ONC3; how they normalise them was not readable to us. The
normalisations here are this library's. Grades that have no sample are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.links import limits


@dataclass(frozen=True, eq=False)
class Latent:
    """The head of ordered grades: z = wᵀh + bias, cut by thresholds b_0 < … < b_Q.

    weight: w (d). thresholds: (Q + 1), None where they are not known; float64 both.
    """

    weight: Float[Tensor, " dim"]
    thresholds: Float[Tensor, " ends"] | None = None
    bias: float = 0.0
    link: str = "logit"

    def positions(self, means: Float[Tensor, "grades dim"]) -> Float[Tensor, " grades"]:
        """z̄_q of class means: the mean score of a grade, as scores are linear."""
        return means @ self.weight + self.bias

    @property
    def limits(self) -> Float[Tensor, " grades"] | None:
        """z⁰_q, where theory puts the grades as decay goes to 0; None without thresholds."""
        return None if self.thresholds is None else limits(self.link, self.thresholds)


def onc2_rank(geometry: Geometry) -> Float[Tensor, ""]:
    """ONC2-1: 1 - σ₁²/Σ σ² of class means centred on their mean, classes weighed alike.

    Share of the means' variance that is off their best line. In [0, 1 - 1/(Q-1)], ideal 0; always
    0 for two grades. NaN where all means coincide.
    """
    rows = geometry.centred_means
    squares = torch.linalg.svdvals(rows).square()
    total = squares.sum()
    if not bool(total > 0):
        return torch.full_like(total, torch.nan)
    # What is off the line, and not 1 less what is on it: digits stay where it is tiny.
    return squares[1:].sum() / total


def onc2_alignment(
    statistics: ClassStatistics, geometry: Geometry, latent: Latent
) -> Float[Tensor, ""]:
    """ONC2-2: 1 - Σ_i (h_i·ŵ)²/Σ_i ‖h_i‖² over samples, ŵ = w/‖w‖.

    Share of the features' energy that the head does not read. In [0, 1], ideal 0. Raw features: a
    common offset off the line counts. NaN where Σ_W was not kept, or features are all 0. Raises
    ValueError for w = 0.
    """
    scatter, means = statistics.scatter("micro"), geometry.means
    assert means is not None
    length = torch.linalg.vector_norm(latent.weight)
    if not bool(length > 0):
        raise ValueError("the head's weight is 0, and has no direction to be aligned with")
    share = statistics.class_weights("micro")
    unit = latent.weight / length
    energy = (share * (means.square().sum(1) + statistics.traces)).sum()
    if scatter is None or not bool(energy > 0):
        return torch.full((), torch.nan, dtype=torch.float64)
    off = means - (means @ unit)[:, None] * unit
    within = statistics.within_trace("micro") - unit @ scatter @ unit
    return ((share * off.square().sum(1)).sum() + within.clamp_min(0)) / energy


def onc3(statistics: ClassStatistics, geometry: Geometry, latent: Latent) -> Float[Tensor, ""]:
    """ONC3: mean over grades of |z̄_q - z⁰_q|, over the mean width of the intervals.

    In mean gaps: ≥ 0, ideal 0, about ½ where grades sit at the wrong thresholds. z⁰: midpoints of
    the intervals for symmetric links (`ncollapse.links.limits`). Decay moves positions towards 0,
    so that it is not 0 at an optimum with decay. Raises ValueError without thresholds.
    """
    goal = latent.limits
    if goal is None or latent.thresholds is None:
        raise ValueError("no thresholds are known of this head; pass thresholds")
    assert geometry.means is not None
    present = statistics.present
    goal = goal if present is None else goal[present]
    return (latent.positions(geometry.means) - goal).abs().mean() / latent.thresholds.diff().mean()


def onc3_order(geometry: Geometry, latent: Latent) -> Float[Tensor, ""]:
    """Share of neighbouring grades whose mean scores ascend. In [0, 1], ideal 1: all in order."""
    assert geometry.means is not None
    steps = latent.positions(geometry.means).diff()
    return (steps > 0).to(torch.float64).mean()
