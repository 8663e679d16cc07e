"""Variance shares of a language model's features: category, token and context.

Over N positions with tokens v (next tokens, by default), c(v) the category of a token, m the mean,

    SST = Σ |h - m|² = SS_category + SS_token|category + SS_context,
    SS_category = Σ_c N_c |m_c - m|²,  SS_token|category = Σ_v n_v |m_v - m_c(v)|²,
    SS_context = Σ |h - m_v|².

The first two need class means and counts, the third class traces: any map of tokens to categories
can be tried afterwards. As they stand, shares flatter rare tokens: a token seen once has no
context, and pure noise has a token share of (V - C)/(N - 1) of V tokens seen and C categories.
Corrected shares have taken off what noise of one strength adds, degrees of freedom times
SS_context/(N - V); they add up to 1, and may fall below 0. Source: after Abrahao 2026 (abstract and
summaries read, not the paper); correction and per-feature form are this library's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.spread import Totals
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.pairs.rows import BLOCK

PARTS = ("category", "token", "context")


@dataclass(frozen=True, eq=False)
class VarianceShares:
    """squares: the three sums of squares. plug_in: them over their sum. corrected: without what
    noise adds, NaN where every token is seen once. standardised: corrected shares with every
    feature divided by its standard deviation first, so that none outweighs the others; None where
    totals per feature were not kept. largest: share of the feature that varies most in the total,
    or None. positions N, tokens V, categories C."""

    squares: Float[Tensor, " three"]
    plug_in: Float[Tensor, " three"]
    corrected: Float[Tensor, " three"]
    standardised: Float[Tensor, " three"] | None
    largest: float | None
    positions: int
    tokens: int
    categories: int

    @property
    def noise_share(self) -> float:
        """The token share that pure noise would read, uncorrected: (V - C)/(N - 1)."""
        return (self.tokens - self.categories) / (self.positions - 1)

    @property
    def within(self) -> float:
        """Variance within categories per position: what `metrics.information` has a floor for."""
        return float(self.squares[1:].sum()) / self.positions


def variance_shares(
    statistics: ClassStatistics,
    geometry: Geometry,
    category: Int[Tensor, " vocabulary"] | None = None,
    totals: Totals | None = None,
) -> VarianceShares:
    """The shares of all tokens seen. category: that of every token of the vocabulary (whole numbers
    from 0), None for one category. totals: of the same positions, for the standardised form.

    Raises ValueError for a category map that is too short or negative, totals of other positions,
    and features that do not vary.
    """
    counts = statistics.counts.to(torch.float64)
    means, number = geometry.raw_rows.matrix, float(counts.sum())
    place = _places(statistics, category)
    groups = int(place.max()) + 1
    sizes = torch.zeros(groups, dtype=torch.float64).index_add_(0, place, counts)
    centre = counts @ means / number
    centres = torch.zeros(groups, means.shape[1], dtype=torch.float64)
    for start in range(0, len(means), BLOCK):
        part = slice(start, start + BLOCK)
        centres.index_add_(0, place[part], (means[part] - centre) * counts[part, None])
    # About the mean of all.
    centres /= sizes[:, None]
    of_category = sizes @ centres**2
    of_token = torch.zeros_like(of_category)
    for start in range(0, len(means), BLOCK):
        part = slice(start, start + BLOCK)
        of_token += counts[part] @ (means[part] - centre - centres[place[part]]) ** 2
    squares = torch.stack([of_category.sum(), of_token.sum(), counts @ statistics.traces])
    if not bool(squares.sum() > 0):
        raise ValueError("all features are alike, so there is no variance to share out")
    freedom = torch.tensor([groups - 1, len(counts) - groups], dtype=torch.float64)
    left = number - len(counts)
    corrected = _corrected(squares[:, None], freedom, left)[:, 0] / squares.sum()
    standardised = largest = None
    if totals is not None:
        if totals.count != round(number):
            raise ValueError(
                f"totals are of {totals.count} positions and the means of {round(number)}; both "
                "need the same samples"
            )
        varies = totals.squares > 0
        inside = (totals.squares - of_category - of_token).clamp_min(0)
        each = torch.stack([of_category, of_token, inside])[:, varies]
        each = _corrected(each, freedom, left) / each.sum(0)
        standardised = each.mean(1)
        largest = float(totals.squares.max() / totals.squares.sum())
    return VarianceShares(
        squares,
        squares / squares.sum(),
        corrected,
        standardised,
        largest,
        round(number),
        len(counts),
        groups,
    )


def _corrected(squares: Tensor, freedom: Tensor, left: float) -> Tensor:
    """Sums of squares (3, features) without what noise adds to the first two; sums stay."""
    noise = squares[2] / left if left > 0 else torch.full_like(squares[2], torch.nan)
    first = squares[:2] - freedom[:, None] * noise
    return torch.cat([first, (squares.sum(0) - first.sum(0))[None]])


def _places(statistics: ClassStatistics, category: Tensor | None) -> Int[Tensor, " classes"]:
    """The category of each class present, numbered without gaps."""
    K = statistics.num_classes
    if category is None:
        return torch.zeros(K, dtype=torch.int64)
    present = torch.arange(K) if statistics.present is None else statistics.present
    if category.dim() != 1 or len(category) <= int(present.max()):
        raise ValueError(
            f"category has shape {tuple(category.shape)} but token {int(present.max())} occurs; "
            "one whole number a token of the vocabulary is needed"
        )
    if category.is_floating_point() or bool((category < 0).any()):
        raise ValueError("categories are whole numbers from 0, one a token of the vocabulary")
    return category[present].unique(return_inverse=True)[1]


def share(shares: VarianceShares, part: str, *, standardised: bool = False) -> Float[Tensor, ""]:
    """One corrected share, of "category", "token" or "context"; NaN where it is not known."""
    found = shares.standardised if standardised else shares.corrected
    if found is None:
        raise ValueError("totals per feature were not kept, so features cannot be standardised")
    return found[PARTS.index(part)]
