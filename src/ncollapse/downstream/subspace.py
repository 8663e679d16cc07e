"""Numbers of forgetting: energy in the active subspace, effective ranks, gaps, old against new."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ncollapse.linalg import EPSILON, row_norms, spectrum
from ncollapse.metrics.class_rank import effective_rank as effective_rank

NORMAL = 1.959963984540054
DRAWS = 20
Ends = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Subspace:
    """S, the span of centred class means: basis (d, r) orthonormal; centre (d), their mean."""

    basis: Float[Tensor, "dim rank"]
    centre: Float[Tensor, " dim"]

    @property
    def rank(self) -> int:
        return int(self.basis.shape[1])

    @classmethod
    def of(cls, means: Float[Tensor, "classes dim"]) -> Subspace:
        """Of class means (K, d), in float64; r ≤ min(d, K - 1). Raises ValueError where they span
        nothing: fewer than two, or all alike."""
        wide = means.double()
        centre = wide.mean(0)
        K, d = wide.shape
        found = spectrum(wide - centre, min(d, K - 1))
        size = float(wide.abs().max()) if wide.numel() else 0.0
        if not found.rank or float(found.values[0]) <= EPSILON * max(K, d) * size:
            raise ValueError(
                f"the means of {K} current class{'es' * (K != 1)} span nothing; at least two "
                "classes with different means are needed in new (or in new and buffer)"
            )
        return cls(found.vectors, centre)

    def energy(self, rows: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        """‖P_S h‖/‖h‖ of each row, in [0, 1]; 0 for a row of zeros. Source: Lanzillotta et al. 2025
        (its page read), the score that NECO gives."""
        wide = rows.double()
        return row_norms(wide @ self.basis) / row_norms(wide).clamp_min(1e-300)


def random_energy(rank: int, dim: int) -> float:
    """√(r/d): root mean square of ‖P_S h‖/‖h‖ over random directions h in d dimensions."""
    return math.sqrt(min(rank, dim) / dim)


def occupied(rows: Float[Tensor, "samples dim"]) -> int:
    """How many directions rows occupy: singular values above what their dtype resolves."""
    wide = rows.double()
    gram = wide.T @ wide if wide.shape[0] >= wide.shape[1] else wide @ wide.T
    values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    level = max(torch.finfo(rows.dtype).eps, EPSILON**0.5) * max(rows.shape) ** 0.5
    return max(1, int((values > level * values[-1]).sum()))


def drawn_rank(rows: Float[Tensor, "samples dim"], count: int, seed: int) -> float:
    """Mean effective rank of `count` of the rows, drawn without replacement, over 20 draws: what a
    buffer of that size would read if its samples looked like the others."""
    if count >= len(rows):
        return effective_rank(rows)
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randperm(len(rows), generator=generator)[:count] for _ in range(DRAWS))
    return sum(effective_rank(rows[places]) for places in drawn) / DRAWS


def class_means(
    rows: Float[Tensor, "samples dim"], place: Int[Tensor, " samples"], K: int
) -> Float[Tensor, "classes dim"]:
    """Means of K classes that all have samples, in float64."""
    wide = rows.double()
    means = torch.zeros(K, wide.shape[1], dtype=torch.float64).index_add(0, place, wide)
    return means / torch.bincount(place, minlength=K).double()[:, None]


def cross_cdnv(
    old: Float[Tensor, "some dim"],
    old_labels: Int[Tensor, " some"],
    new: Float[Tensor, "others dim"],
    new_labels: Int[Tensor, " others"],
) -> float:
    """Mean over pairs of an old class i and another class j of the new ones of
    (v_i + v_j)/(2 ‖μ_i - μ_j‖²), v the mean squared distance to the own mean: how much new classes
    overlap with old ones, ≥ 0, 0 ideal; NaN without such a pair. Source: Galanti, György, Hutter
    2022, over pairs across the two sets."""
    sides = []
    for rows, labels in ((old, old_labels), (new, new_labels)):
        classes, place = labels.unique(return_inverse=True)
        means = class_means(rows, place, len(classes))
        square = (rows.double() - means[place]).square().sum(1)
        spread = torch.zeros(len(classes), dtype=torch.float64).index_add(0, place, square)
        sides.append((classes, means, spread / torch.bincount(place)))
    (one, means, spread), (other, others, spreads) = sides
    away = torch.cdist(means, others, compute_mode="donot_use_mm_for_euclid_dist").square()
    values = (spread[:, None] + spreads) / (2 * away)
    pairs = values[one[:, None] != other]
    return float(pairs.mean()) if pairs.numel() else math.nan


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error; the 95 % interval is normal."""

    value: float
    error: float

    @property
    def interval(self) -> Ends:
        return self.value - NORMAL * self.error, self.value + NORMAL * self.error

    @classmethod
    def of(cls, values: Float[Tensor, " samples"]) -> Estimate:
        """Of independent samples; an infinite error for one alone."""
        n = values.numel()
        error = float(values.double().std()) / math.sqrt(n) if n > 1 else math.inf
        return cls(float(values.double().mean()), error)

    @classmethod
    def paired(cls, one: Bool[Tensor, " samples"], other: Bool[Tensor, " samples"]) -> Estimate:
        """Share of one minus share of other on the same samples. The value is the difference; the
        error is that of half a pair more of every kind, so that it is not 0 where all agree
        (Agresti & Min 2005, remembered, not read)."""
        n = one.numel()
        won, lost = int((one & ~other).sum()), int((other & ~one).sum())
        difference = (won - lost) / (n + 2)
        variance = (won + lost + 1) / (n + 2) - difference**2
        return cls((won - lost) / n, math.sqrt(variance / (n + 2)))

    @classmethod
    def mean(cls, parts: list[Estimate]) -> Estimate:
        """The mean of independent estimates, classes weighed alike."""
        error = math.sqrt(sum(part.error**2 for part in parts)) / len(parts)
        return cls(sum(part.value for part in parts) / len(parts), error)
