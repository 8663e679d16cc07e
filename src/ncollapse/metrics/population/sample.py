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
from ncollapse.linalg import EPSILON, Factor, factored
from ncollapse.metrics.nc1 import between_of, whitened_of
from ncollapse.metrics.pencil import Quadratic, Whitened, congruent, whitened
from ncollapse.pairs.sums import squared_distances

# Directions whose variance lies below this share of the largest, times d, are not occupied.
UNOCCUPIED = 1e-12
COINCIDE = "the class means are not told apart from one point"


class CannotTellError(ValueError):
    """A population value that the sample does not determine; the message says why."""


@dataclass(frozen=True, eq=False)
class Sample:
    """What the samples of K classes say, in float64.

    counts: n_c. means: (K, d), or many draws of them in front. spreads: s_c = SS_c/(n_c - 1),
    unbiased for tr Σ_c; a class of one sample borrows the pooled one. weights: p_c of the
    weighting, sum 1. scatter: Σ_W = Σ p_c Σ_c, which `stretch` times is without bias; None where it
    was not kept. head: W (K, d). resolution: relative precision of the scatter. centre: whether
    `centred` means are centred. whole: the sample that this is a part of; Σ_W is taken proportional
    to its. reads: `Geometry.reads`. record: takes down what a derivative by Σ_W is
    (`ncollapse.metrics.influence`).
    """

    counts: Float[Tensor, " classes"]
    means: Float[Tensor, "*draws classes dim"]
    spreads: Float[Tensor, " classes"]
    weights: Float[Tensor, " classes"]
    scatter: Float[Tensor, "dim dim"] | None = None
    head: Float[Tensor, "classes dim"] | None = None
    stretch: float = 1.0
    resolution: float = EPSILON
    centre: bool = True
    whole: Sample | None = None
    record: list[Quadratic] | None = None
    reads: Float[Tensor, "some dim"] | None = None

    @classmethod
    def of(cls, statistics: ClassStatistics, geometry: Geometry, weighting: str) -> Sample:
        """Of all samples. The kept scatter, whose classes have divisors n_c, is scaled to the
        unbiased trace: exact for equal counts."""
        counts = statistics.counts.to(torch.float64)
        spreads = statistics.unbiased_spreads
        weights = statistics.class_weights(weighting)
        scatter, stretch = statistics.scatter(weighting), 1.0
        if scatter is not None:
            trace = float(scatter.diagonal().sum())
            scatter = scatter if trace > 0 else None
            stretch = float((weights * spreads).sum()) / trace if trace > 0 else 1.0
        assert geometry.means is not None
        found = cls(
            counts,
            geometry.means,
            spreads,
            weights,
            scatter,
            geometry.weight,
            stretch,
            statistics.resolution,
            reads=geometry.reads,
        )
        # What the readings have factored already.
        if scatter is not None and bool((geometry.centred_means != 0).any()):
            held = between_of(statistics, geometry, weighting, weighting)
            white = whitened_of(statistics, scatter, held)
            found.__dict__.update(between_factor=held, white=white)
        return found

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
        if self.means.dim() == 3:
            # Of many draws by their products, which are known; far from collapse nothing cancels.
            G = self._products
            apart = (G.diagonal(dim1=-2, dim2=-1) * p).sum(-1) - (G @ p) @ p
        else:
            apart = (self.factor**2).sum((-2, -1))
        return apart - (p * (1 - p) * self.noise).sum()

    @cached_property
    def between_factor(self) -> Factor:
        """Of Σ_B of the means as they are. The noise of its FFᵀ is leftᵀ diag(p_c s_c/n_c) left."""
        try:
            return factored(self.factor, self.weights.sqrt())
        except ValueError as error:
            raise CannotTellError(COINCIDE) from error

    @cached_property
    def white(self) -> Whitened:
        """F through Σ_W⁺, without the stretch."""
        assert self.scatter is not None
        F = self.between_factor.F
        most = round(min(self.freedom, self.scatter.shape[0]))
        return whitened(self.scatter, F, resolution=self.resolution, most=most)

    @property
    def contrasts(self) -> Float[Tensor, "rank dim"]:
        """F, as a function of the means."""
        return self.between_factor.left.T @ self.factor

    def seen(self) -> Float[Tensor, "rank rank"]:
        """F Σ_W Fᵀ."""
        F = self.contrasts
        assert self.scatter is not None
        left = self.scatter @ F.detach().T * self.stretch
        return congruent(F, left, F.detach() @ left, self.record, F.detach().T, 1.0)

    def through(self) -> Float[Tensor, "rank rank"]:
        """F Σ_W⁺ Fᵀ."""
        white, stretch = self.white, self.stretch
        left = white.solved / stretch
        return congruent(self.contrasts, left, white.inner / stretch, self.record, left, -1.0)

    @cached_property
    def head_spread(self) -> float:
        """tr(W Σ_W Wᵀ)."""
        if self.whole is not None:
            return self.whole.head_spread * float(self.within / self.whole.within)
        if self.scatter is None or self.head is None:
            raise CannotTellError("Σ_W was not kept, so the noise of the logits is unknown")
        return float(((self.head @ self.scatter) * self.head).sum()) * self.stretch

    def small(self) -> None:
        """Raises where K × K matrices are not formed."""
        if self.num_classes > LARGEST_GRAM:
            raise CannotTellError(
                f"the noise of class means is not removed from pairs of more than {LARGEST_GRAM:,} "
                "classes"
            )

    @cached_property
    def _products(self) -> Float[Tensor, "*draws classes classes"]:
        """MMᵀ as it is."""
        self.small()
        return self.centred @ self.centred.mT

    def knowing(self, products: Tensor) -> Sample:
        """This sample, the inner products of its (centred) means known."""
        self.__dict__["_products"] = products
        return self

    @cached_property
    def uncentred(self) -> Sample:
        """The sample with its means read as they are."""
        if not self.centre:
            return self
        return replace(self, centre=False).knowing(self.raw_gram + torch.diag(self.noise))

    @cached_property
    def gram(self) -> Float[Tensor, "*draws classes classes"]:
        """MMᵀ - H D H."""
        K, noise = self.num_classes, self.noise
        found = self._products + ((noise[:, None] + noise[None]) / K - noise.sum() / K**2)
        return found - torch.diag(noise)

    @cached_property
    def raw_gram(self) -> Float[Tensor, "*draws classes classes"]:
        """AAᵀ - D of the raw means A."""
        self.small()
        found = self._products
        if self.centre:
            middle = self.means.mean(-2)
            shift = (self.centred @ middle[..., None])[..., 0] + (middle**2).sum(-1)[..., None] / 2
            found = found + shift[..., :, None] + shift[..., None, :]
        return found - torch.diag(self.noise)

    @cached_property
    def logits(self) -> Float[Tensor, "*draws classes classes"]:
        """WMᵀ."""
        if self.head is None:
            raise CannotTellError("no classifier was given")
        return self.head @ self.centred.mT

    @cached_property
    def squared_distances(self) -> Float[Tensor, "*draws classes classes"]:
        """‖μ_i - μ_j‖² - D_i - D_j, NaN on the diagonal; may be negative."""
        self.small()
        M, noise = self.centred, self.noise
        if M.dim() == 2:
            found = squared_distances(M, self._products)
        else:
            square = self._products.diagonal(dim1=-2, dim2=-1)
            found = square[..., :, None] + square[..., None, :] - 2 * self._products
            found = found.clamp_min(0)
        found = found - noise[:, None] - noise[None]
        found.diagonal(dim1=-2, dim2=-1).fill_(torch.nan)
        return found

    @cached_property
    def trace_square(self) -> float:
        """tr Σ_W² without the part that sampling adds, (tr Σ_W)²/ν + tr Σ_W²/ν for Gaussian noise;
        ν by Satterthwaite."""
        assert self.scatter is not None
        share = self.weights * self.spreads.detach()
        parts = (share**2 / (self.counts - 1).clamp_min(1)).sum()
        nu = float(share.sum() ** 2 / parts)
        scatter = self.scatter.detach()
        square = float((scatter**2).sum()) * self.stretch**2
        trace = float(scatter.diagonal().sum()) * self.stretch
        return max(square - trace**2 / nu, 0.0) / (1 + 1 / nu)

    @cached_property
    def top(self) -> float:
        """The largest eigenvalue of Σ_W."""
        from scipy.sparse.linalg import eigsh

        assert self.scatter is not None
        scatter = self.scatter.detach()
        if scatter.shape[0] < 8:
            return float(torch.linalg.eigvalsh(scatter)[-1]) * self.stretch
        # The start is turned as the features are, so that the value does not depend on their axes.
        turned = (scatter @ self.factor.detach().T).sum(1).numpy()
        start = turned if (turned != 0).any() else None
        found = eigsh(
            scatter.numpy(), k=1, which="LA", v0=start, tol=1e-4, return_eigenvectors=False
        )
        return float(found[0]) * self.stretch

    @property
    def typical(self) -> float:
        """Harmonic mean of the counts."""
        return float(1 / (1 / self.counts).mean())

    def located(self) -> Sample:
        """In coordinates of the directions in which anything varies; for what does not look at the
        head."""
        assert self.scatter is not None
        V = occupied(self.scatter.detach(), self.centred.detach())
        if V is None:
            return self
        scatter = V.T @ self.scatter @ V
        return replace(self, means=self.means @ V, scatter=scatter, head=None)


def occupied(
    scatter: Float[Tensor, "dim dim"], centred: Float[Tensor, "classes dim"]
) -> Float[Tensor, "dim used"] | None:
    """Orthonormal columns that span what varies: zero, repeated or rotated columns do not count.
    None where all directions do."""
    dim = scatter.shape[0]
    values, axes = torch.linalg.eigh((scatter + scatter.T) / 2)
    keep = values > float(values[-1]) * UNOCCUPIED * dim
    if bool(keep.all()):
        return None
    axes = axes[:, keep]
    outside = centred - (centred @ axes) @ axes.T
    _, sizes, rows = torch.linalg.svd(outside, full_matrices=False)
    scale = float(torch.linalg.vector_norm(centred))
    more = rows[sizes > scale * (UNOCCUPIED * dim) ** 0.5].T
    return torch.cat([axes, more], 1)
