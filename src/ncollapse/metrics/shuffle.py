"""Shuffled labels and random directions, drawn from the features alone.

Labels shuffled over N samples make the class means a random (K-1)-dimensional section of the
centred samples. Let Σ_T = RᵀR be the covariance of all features (divisor N), R their root: the
centred samples themselves over √N, or the square root of their spectrum along their axes. Then
√n_c-weighted means are Φ R, Φ the K - 1 rows of a random orthonormal frame in N - 1 dimensions, in
the coordinates of R. In white coordinates of the q directions that features occupy ΦᵀΦ is
matrix-beta(q/2, (N-1-q)/2), so tr Σ_T⁺Σ_B has mean q(K-1)/(N-1) exactly, and is K - 1 always for
q ≥ N - 1. The law is that of rotations, which permutations follow closely [approximation; the means
are exact]. Both roots turn as the features do, so no draw depends on the columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.linalg import in_complement
from ncollapse.metrics.nc1 import between_of, between_scatter_factor, whitened_of
from ncollapse.metrics.nc2 import effective_dimension
from ncollapse.metrics.population.sample import UNOCCUPIED

# Numbers of a batch of draws.
TOGETHER = 4e6
# Of samples so many times the effective dimension, at least `FEWEST`, their spectrum is that of all
# within two per cent: 1/d_eff grows by 1/rows.
PER_DIMENSION, FEWEST = 50, 1024


@dataclass(frozen=True, eq=False)
class Draws:
    """Some draws at once. directions: K rows (draws, K, d) of the features' covariance. turn: T
    (draws, K, K) with class means T × directions under shuffled labels, about the mean of all; None
    for very many classes, of which no K × K matrix is formed."""

    counts: Float[Tensor, " classes"]
    directions: Float[Tensor, "draws classes dim"]
    turn: Float[Tensor, "draws classes classes"] | None

    @cached_property
    def products(self) -> Float[Tensor, "draws classes classes"]:
        """Inner products of the directions."""
        return (self.directions @ self.directions.mT).to(torch.float64)

    @cached_property
    def gram(self) -> Float[Tensor, "draws classes classes"]:
        """Inner products of the means."""
        return self.turned(self.products)

    def turned(self, matrix: Float[Tensor, "draws classes classes"]) -> Tensor:
        """T × matrix × Tᵀ: what the means have of it."""
        assert self.turn is not None
        return self.turn @ matrix @ self.turn.mT

    @cached_property
    def means(self) -> Float[Tensor, "draws classes dim"]:
        """The means themselves, for what their products do not tell."""
        rows = self.directions.to(torch.float64)
        if self.turn is None:
            return rows / self.counts.sqrt()[:, None]
        return self.turn @ rows


@dataclass(frozen=True, eq=False)
class Features:
    """What is known of all features: a root R (rows, d) of their covariance, and how many samples.

    rows: how many rows of the frame's N - 1 dimensions R stands for; sample rows sum to zero, so
    they stand for one less than they are. statistics, geometry: of the same features.
    """

    root: Float[Tensor, "rows dim"]
    samples: int
    spread: float
    centred: bool
    statistics: ClassStatistics
    geometry: Geometry

    @classmethod
    def of(
        cls, statistics: ClassStatistics, geometry: Geometry, residuals: Residuals | None
    ) -> Features | None:
        """From samples where enough of them were kept, else from the scatter, else from what was
        kept. None where nothing was, or nothing varies."""
        if not geometry.pairs.exact or not bool((geometry.centred_means != 0).any()):
            return None
        scatter = statistics.scatter(_weighting(statistics))
        root: Tensor | None = None
        held = 0 if residuals is None else residuals.labels.numel()
        if residuals is not None:
            enough = held
            if scatter is not None:
                dimension = float(effective_dimension(statistics, geometry))
                enough = max(FEWEST, round(PER_DIMENSION * dimension), 2 * statistics.num_classes)
            if residuals.whole or scatter is None or enough <= held:
                held = min(held, enough)
                root = _of_samples(statistics, geometry, residuals, held)
        if root is None and scatter is not None:
            root = _of_scatter(statistics, geometry)
            root = root if residuals is None else root.to(residuals.rows.dtype)
        if root is None or not bool((root != 0).any()):
            return None
        counts = statistics.counts.to(torch.float64)
        between = between_scatter_factor(statistics, geometry, "micro", "micro")
        spread = float((counts * statistics.traces).sum() / counts.sum() + (between**2).sum())
        root = (
            root * (spread / float(torch.linalg.vector_norm(root, dtype=torch.float64)) ** 2) ** 0.5
        )
        samples = statistics.num_samples
        centred = residuals is not None and residuals.whole and len(root) == samples
        return cls(root, samples, spread, centred, statistics, geometry)

    @property
    def total(self) -> float:
        """Trace of the covariance, with divisor N - 1."""
        return self.spread * self.samples / (self.samples - 1)

    @cached_property
    def rank(self) -> int | None:
        """Directions that the features occupy, None where no scatter tells."""
        for weighting in ("macro", "micro"):
            scatter = self.statistics.scatter(weighting)
            if scatter is not None and bool((self.geometry.centred_means != 0).any()):
                factor = between_of(self.statistics, self.geometry, weighting, weighting)
                white = whitened_of(self.statistics, scatter, factor)
                apart = 0 if white.free is None else factor.rank - white.free.shape[1]
                return min(white.rank + apart, self.samples - 1)
        return None

    def draws(self, number: int, generator: torch.Generator) -> Iterator[Draws]:
        """So many, a batch at a time."""
        counts = self.statistics.counts.to(torch.float64)
        K, (rows, dim) = len(counts), self.root.shape
        size = max(1, int(TOGETHER // (K * max(rows, dim))))
        for start in range(0, number, size):
            some = min(size, number - start)
            Z = torch.randn(some, K, rows, generator=generator, dtype=torch.float64)
            if self.centred:
                Z -= Z.mean(-1, keepdim=True)
            seen = (Z.flatten(0, 1).to(self.root.dtype) @ self.root).unflatten(0, (some, K))
            yield Draws(counts, seen, self._turn(counts, Z, generator))

    def _turn(self, counts: Tensor, Z: Tensor, generator: torch.Generator) -> Tensor | None:
        """What makes means of Gaussian rows Z: contrasts made orthonormal together with what R does
        not stand for. None for very many classes, whose rows are so already."""
        K = len(counts)
        if K > LARGEST_GRAM:
            return None
        part = Z[:, : K - 1]
        gram = part @ part.mT
        rest = self.samples - 1 - (Z.shape[-1] - self.centred)
        if rest > 0:
            gram += wisharts(len(gram), rest, K - 1, generator)
        lower, failed = torch.linalg.cholesky_ex(gram)
        eye = torch.eye(K - 1, dtype=gram.dtype)
        if bool(failed.any()):
            # As many classes as samples, within one: any frame spans all.
            lower = torch.linalg.cholesky(gram + 1e-9 * eye)
        share = (counts / counts.sum()).sqrt()
        inverse = torch.linalg.solve_triangular(lower, eye.expand_as(lower), upper=False)
        found = torch.zeros(len(Z), K, K, dtype=torch.float64)
        for place, one in enumerate(inverse):
            found[place, :, : K - 1] = in_complement(share, one) / share[:, None]
        return found

    def through(self, draws: Draws) -> Tensor:
        """M Σ_T Mᵀ (draws, K, K) of the means M of each draw, in the precision of the root."""
        scatter, factor = self._covariance
        rows = draws.directions
        flat = rows.flatten(0, 1)
        between = (flat @ factor.T).unflatten(0, rows.shape[:2])
        within = (flat @ scatter).unflatten(0, rows.shape[:2])
        return draws.turned((within @ rows.mT + between @ between.mT).to(torch.float64))

    @cached_property
    def _covariance(self) -> tuple[Tensor, Tensor]:
        """Its parts in the precision of the root."""
        scatter, factor = _parts(self.statistics, self.geometry)
        return scatter.to(self.root.dtype), factor.to(self.root.dtype)


def _weighting(statistics: ClassStatistics) -> str:
    return "micro" if statistics.micro is not None else "macro"


def _parts(statistics: ClassStatistics, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """(Σ_W, F) with Σ_T = Σ_W + FᵀF."""
    weighting = _weighting(statistics)
    scatter = statistics.scatter(weighting)
    assert scatter is not None
    return scatter, between_scatter_factor(statistics, geometry, weighting, weighting)


def _of_samples(
    statistics: ClassStatistics, geometry: Geometry, residuals: Residuals, number: int
) -> Tensor:
    """Rows (h - h̄)/√N of the kept samples, or of `number` of them, each for those of its class."""
    rows, labels = residuals.result()
    # Sorted by class and length, so that neither the order of samples nor the columns matter.
    order = torch.argsort(torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64), stable=True)
    order = order[torch.argsort(labels[order], stable=True)]
    rows, labels = rows[order], labels[order]
    held = labels.numel()
    if number < held:
        chosen = (torch.arange(number) * (held / number)).long()
        rows, labels = rows[chosen], labels[chosen]
    weights = statistics.class_weights("micro")
    means = geometry.raw_rows.matrix
    place = residuals.places(labels)
    centred = (means - weights @ means).to(rows.dtype)
    each = torch.bincount(place, minlength=len(means)).clamp_min(1)
    share = (weights / each).sqrt().to(rows.dtype)
    return (rows + centred[place]) * share[place, None]


def _of_scatter(statistics: ClassStatistics, geometry: Geometry) -> Tensor:
    """√λ_i v_iᵀ; the sign of each axis is fixed by the class means."""
    scatter, factor = _parts(statistics, geometry)
    values, axes = torch.linalg.eigh(scatter + factor.T @ factor)
    keep = values > float(values[-1]) * UNOCCUPIED * len(values)
    values, axes = values[keep], axes[:, keep]
    seen = geometry.centred_means @ axes
    sign = seen[seen.abs().argmax(0), torch.arange(len(values))].sign()
    return (axes * torch.where(sign == 0, 1.0, sign) * values.clamp_min(0).sqrt()).T


def corner(rows: int, columns: int, whole: int, generator: torch.Generator) -> Tensor:
    """The corner (rows, columns) of a random orthogonal matrix of `whole` dimensions, up to a
    rotation of its longer side; orthonormal where a side is `whole` or more."""
    if rows < columns:
        return corner(columns, rows, whole, generator).T
    part = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    gram = part.T @ part
    if whole > rows:
        gram += wisharts(1, whole - rows, columns, generator)[0]
    lower = torch.linalg.cholesky(gram)
    return torch.linalg.solve_triangular(lower, part.T, upper=False).T


def wisharts(number: int, freedom: int, size: int, generator: torch.Generator) -> Tensor:
    """(number, size, size): GᵀG of Gaussian matrices (freedom, size), by Bartlett's factor where
    that is smaller."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(number, *shape, generator=generator, dtype=torch.float64)

    if freedom <= 2 * size:
        sample = normal(freedom, size)
        return sample.mT @ sample
    factor = normal(size, size).tril(-1)
    free = freedom - torch.arange(size, dtype=torch.float64)
    # χ² by Wilson and Hilferty, whose error is far below 1/freedom.
    chi = free * (1 - 2 / (9 * free) + normal(size) * (2 / (9 * free)).sqrt()) ** 3
    factor.diagonal(dim1=1, dim2=2).copy_(chi.clamp_min(0).sqrt())
    return factor @ factor.mT
