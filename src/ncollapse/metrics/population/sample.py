"""Sample: class means with their sampling noise, of which population values are read.

The network is fixed and class c has mean μ_c and covariance Σ_c; n_c samples give its mean with an
error of covariance Σ_c/n_c. Three facts, exact at any n_c and any noise, carry what is read here:

    E μ̂μ̂ᵀ = μμᵀ + D                          D = diag(tr Σ_c / n_c)
    E M̂M̂ᵀ = MMᵀ + H D H                      M centred means, H = I - 11ᵀ/K
    E ‖μ̂_i - μ̂_j‖² = ‖μ_i - μ_j‖² + D_i + D_j
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.linalg import complement

# Directions whose variance lies below this share of the largest, times d, are not occupied.
UNOCCUPIED = 1e-12
# Up to so many numbers distances are formed from differences; beyond, from Gram matrices.
DIRECT = 2e8


class CannotTellError(ValueError):
    """A population value that the sample does not determine; the message says why."""


@dataclass(frozen=True, eq=False)
class Occupied:
    """The directions that features use, found once of all samples and used for all parts of them.

    basis: (d, q), None where q = d. inside: how many of them vary within classes. top: the largest
    eigenvalue of Σ_W.
    """

    basis: Float[Tensor, "dim used"] | None
    inside: int
    top: float


@dataclass(frozen=True, eq=False)
class Sample:
    """What the samples of K classes say, in float64.

    counts: n_c. means: (K, d), or many draws of them in front. spreads: s_c = SS_c/(n_c - 1),
    unbiased for tr Σ_c; a class of one sample borrows the pooled one. weights: p_c of the
    weighting, sum 1. scatter: Σ_W = Σ p_c Σ_c without bias, None where it was not kept. head: W
    (K, d). occupied: see there, None without a scatter. centre: whether `centred` means are
    centred. part: whether some samples were left out, so that what all of them resolve need not be
    asked again.
    """

    counts: Float[Tensor, " classes"]
    means: Float[Tensor, "*draws classes dim"]
    spreads: Float[Tensor, " classes"]
    weights: Float[Tensor, " classes"]
    scatter: Float[Tensor, "dim dim"] | None = None
    head: Float[Tensor, "classes dim"] | None = None
    occupied: Occupied | None = None
    centre: bool = True
    part: bool = False

    @classmethod
    def of(cls, statistics: ClassStatistics, geometry: Geometry, weighting: str) -> Sample:
        """Of all samples. The kept scatter, whose classes have divisors n_c, is scaled to the
        unbiased trace: exact for equal counts."""
        counts = statistics.counts.to(torch.float64)
        spreads = statistics.unbiased_spreads
        weights = statistics.class_weights(weighting)
        scatter = statistics.scatter(weighting)
        if scatter is not None:
            trace = scatter.diagonal().sum()
            total = (weights * spreads).sum()
            scatter = scatter * (total / trace) if float(trace) > 0 else None
        assert geometry.means is not None
        return cls(counts, geometry.means, spreads, weights, scatter, geometry.weight)

    @property
    def num_classes(self) -> int:
        return int(self.counts.numel())

    @property
    def freedom(self) -> float:
        """N - K."""
        return float(self.counts.sum()) - self.num_classes

    @property
    def noise(self) -> Float[Tensor, " classes"]:
        """The diagonal of D: the noise of each mean, s_c/n_c."""
        return self.spreads / self.counts

    @cached_property
    def within(self) -> Float[Tensor, ""]:
        """tr Σ_W."""
        return (self.weights * self.spreads).sum()

    @cached_property
    def centred(self) -> Float[Tensor, "*draws classes dim"]:
        """M: means minus their mean, classes weighed alike."""
        if not self.centre:
            return self.means
        return self.means - self.means.mean(-2, keepdim=True)

    @cached_property
    def factor(self) -> Float[Tensor, "*draws classes dim"]:
        """F with Σ_B = FᵀF of the means as they are: rows √p_c (μ_c - Σ p_j μ_j)."""
        middle = (self.weights @ self.means)[..., None, :]
        return (self.means - middle) * self.weights.sqrt()[:, None]

    @cached_property
    def between(self) -> Float[Tensor, ...]:
        """tr Σ_B = Σ p_c ‖m_c‖² - Σ p_c (1 - p_c) s_c/n_c, unbiased."""
        p = self.weights
        return (self.factor**2).sum((-2, -1)) - (p * (1 - p) * self.noise).sum()

    @cached_property
    def complement(self) -> Float[Tensor, "classes rest"]:
        """Q: orthonormal columns that span the complement of √p, in which F lies; the noise of
        QᵀF FᵀQ is Qᵀ diag(p_c s_c/n_c) Q."""
        return complement(self.weights.sqrt())

    def small(self) -> None:
        """Raises where K × K matrices are not formed."""
        if self.num_classes > LARGEST_GRAM:
            raise CannotTellError(
                f"the noise of class means is not removed from pairs of more than {LARGEST_GRAM:,} "
                "classes"
            )

    @cached_property
    def gram(self) -> Float[Tensor, "*draws classes classes"]:
        """MMᵀ - H D H."""
        self.small()
        K, noise = self.num_classes, self.noise
        found = self.centred @ self.centred.mT + (noise[:, None] + noise[None]) / K
        found = found - noise.sum() / K**2
        return found - torch.diag(noise)

    @cached_property
    def raw_gram(self) -> Float[Tensor, "*draws classes classes"]:
        """AAᵀ - D of the raw means A."""
        self.small()
        return self.means @ self.means.mT - torch.diag(self.noise)

    @cached_property
    def squared_distances(self) -> Float[Tensor, "*draws classes classes"]:
        """‖μ_i - μ_j‖² - D_i - D_j, NaN on the diagonal; may be negative."""
        self.small()
        M, noise = self.centred, self.noise
        if self.num_classes * M.numel() <= DIRECT:
            mode = "donot_use_mm_for_euclid_dist"
            found = torch.cdist(M, M, compute_mode=mode) ** 2
        else:
            square = (M * M).sum(-1)
            found = square[..., :, None] + square[..., None, :] - 2 * M @ M.mT
            found = found.clamp_min(0)
        found = found - noise[:, None] - noise[None]
        found.diagonal(dim1=-2, dim2=-1).fill_(torch.nan)
        return found

    @cached_property
    def trace_square(self) -> float:
        """tr Σ_W² without the part that sampling adds, (tr Σ_W)²/ν + tr Σ_W²/ν for Gaussian noise;
        ν by Satterthwaite."""
        assert self.scatter is not None
        share = self.weights * self.spreads
        parts = (share**2 / (self.counts - 1).clamp_min(1)).sum()
        nu = float(share.sum() ** 2 / parts)
        square, trace = float((self.scatter**2).sum()), float(self.scatter.diagonal().sum())
        return max(square - trace**2 / nu, 0.0) / (1 + 1 / nu)

    @property
    def typical(self) -> float:
        """Harmonic mean of the counts."""
        return float(1 / (1 / self.counts).mean())

    def located(self, occupied: Occupied | None = None) -> Sample:
        """In coordinates of the occupied directions, those given or those of this sample; for what
        does not look at the head."""
        if self.scatter is None:
            return self
        found = find_occupied(self.scatter, self.centred) if occupied is None else occupied
        V = found.basis
        if V is None:
            return replace(self, occupied=found)
        scatter = V.T @ self.scatter @ V
        return replace(self, means=self.means @ V, scatter=scatter, head=None, occupied=found)


def find_occupied(
    scatter: Float[Tensor, "dim dim"], centred: Float[Tensor, "classes dim"]
) -> Occupied:
    """Directions in which anything varies: zero, repeated or rotated columns do not count."""
    dim = scatter.shape[0]
    values, axes = torch.linalg.eigh((scatter + scatter.T) / 2)
    top = float(values[-1])
    keep = values > top * UNOCCUPIED * dim
    inside = int(keep.sum())
    if inside == dim:
        return Occupied(None, inside, top)
    axes = axes[:, keep]
    outside = centred - (centred @ axes) @ axes.T
    _, sizes, rows = torch.linalg.svd(outside, full_matrices=False)
    scale = float(torch.linalg.vector_norm(centred))
    more = rows[sizes > scale * (UNOCCUPIED * dim) ** 0.5].T
    return Occupied(torch.cat([axes, more], 1), inside, top)
