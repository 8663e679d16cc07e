"""Shuffled labels and random directions, drawn from the spectrum of the features alone.

Labels shuffled over N samples make the class means a random (K-1)-dimensional section of the
centred samples. Let Λ be the covariance of all features (divisor N) in the q directions that they
occupy. Then √n_c-weighted means are Λ^½ times the q × (K-1) corner B of a random orthonormal frame
in N - 1 dimensions: BᵀB is matrix-beta(q/2, (N-1-q)/2), so tr Σ_T⁺Σ_B = ‖B‖² has mean
q(K-1)/(N-1) exactly, and for q ≥ N - 1, where B is orthonormal, K - 1 always. The law is that of
rotations, which permutations follow closely [approximation; the means are exact].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.linalg import in_complement
from ncollapse.metrics.nc1 import between_scatter_factor
from ncollapse.metrics.population.sample import UNOCCUPIED


@dataclass(frozen=True, eq=False)
class Draw:
    """Class means (K, q) under shuffled labels, about the mean of all, in the features' axes."""

    counts: Float[Tensor, " classes"]
    means: Float[Tensor, "classes used"]

    def factor(self, between: str, centre: str) -> Float[Tensor, "classes used"]:
        """F with Σ_B = FᵀF; macro or micro weights of the classes and of their centre."""
        kinds = {
            "macro": torch.full_like(self.counts, 1 / len(self.counts)),
            "micro": self.counts / self.counts.sum(),
        }
        return (self.means - kinds[centre] @ self.means) * kinds[between].sqrt()[:, None]


@dataclass(frozen=True, eq=False)
class Features:
    """What is known of all features: variances (q) along their axes (d, q), and how many samples.

    The sign of each axis is fixed by the class means, so that draws do not depend on the columns.
    """

    variances: Float[Tensor, " used"]
    axes: Float[Tensor, "dim used"]
    samples: int

    @classmethod
    def of(cls, statistics: ClassStatistics, geometry: Geometry) -> Features | None:
        """None where no scatter was kept, there is one sample a class, or nothing varies."""
        weighting = "micro" if statistics.micro is not None else "macro"
        scatter = statistics.scatter(weighting)
        if scatter is None or not geometry.pairs.exact:
            return None
        factor = between_scatter_factor(statistics, geometry, weighting, weighting)
        values, axes = torch.linalg.eigh(scatter + factor.T @ factor)
        if not float(values[-1]) > 0:
            return None
        keep = values > float(values[-1]) * UNOCCUPIED * len(values)
        values, axes = values[keep], axes[:, keep]
        seen = geometry.centred_means @ axes
        largest = seen.abs().argmax(0)
        sign = seen[largest, torch.arange(len(values))].sign()
        return cls(values, axes * torch.where(sign == 0, 1.0, sign), statistics.num_samples)

    @property
    def total(self) -> float:
        """Trace of the covariance, with divisor N - 1."""
        return float(self.variances.sum()) * self.samples / (self.samples - 1)

    def shuffled(self, counts: Tensor, generator: torch.Generator) -> Draw:
        """Class means under labels drawn without regard to the features, counts kept."""
        number = counts.to(torch.float64)
        size, used = len(number), len(self.variances)
        root = self.variances.sqrt()
        if size > LARGEST_GRAM:
            noise = torch.randn(size, used, generator=generator, dtype=torch.float64)
            return Draw(number, noise * root / number.sqrt()[:, None])
        corner = _corner(size - 1, used, self.samples - 1, generator)
        weights = (number / number.sum()).sqrt()
        return Draw(number, in_complement(weights, corner) * root / weights[:, None])

    def directions(
        self, centre: Tensor, count: int, size: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Random means about `centre` (see `placed`) with tr Σ_B = `size`, and random rows of the
        same spectrum."""
        used, root = len(self.variances), self.variances.sqrt()
        first, rows = (
            torch.randn(count, used, generator=generator, dtype=torch.float64) * root
            for _ in range(2)
        )
        scale = ((first - first.mean(0)) ** 2).sum() / count
        first = first * (size / scale).sqrt()
        return torch.nn.functional.pad(first, (0, centre.numel() - used)) + centre, rows

    def placed(self, geometry: Geometry) -> tuple[Tensor, Tensor | None]:
        """Centre of the means and weight in the axes, with as many more axes as they need."""
        centre = geometry.global_mean
        given = (
            centre[None] if geometry.weight is None else torch.cat([centre[None], geometry.weight])
        )
        inside = given @ self.axes
        if self.axes.shape[1] < self.axes.shape[0]:
            rest = given - inside @ self.axes.T
            extra = torch.linalg.qr(rest.T, mode="r").R.T
            inside = torch.cat([inside, extra], 1)
        return inside[0], None if geometry.weight is None else inside[1:]


def _corner(rows: int, columns: int, whole: int, generator: torch.Generator) -> Tensor:
    """The corner (rows, columns) of a random orthogonal matrix of `whole` dimensions, up to a
    rotation of its longer side; orthonormal where a side is `whole` or more."""
    if rows < columns:
        return _corner(columns, rows, whole, generator).T
    part = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    gram = part.T @ part + _wishart(max(whole - rows, 0), columns, generator)
    lower = torch.linalg.cholesky(gram)
    return torch.linalg.solve_triangular(lower, part.T, upper=False).T


def _wishart(freedom: int, size: int, generator: torch.Generator) -> Tensor:
    """GᵀG of a Gaussian matrix (freedom, size), by Bartlett's factor where that is smaller."""
    if freedom <= 2 * size:
        sample = torch.randn(freedom, size, generator=generator, dtype=torch.float64)
        return sample.T @ sample
    factor = torch.randn(size, size, generator=generator, dtype=torch.float64).tril(-1)
    free = freedom - torch.arange(size, dtype=torch.float64)
    # χ² by Wilson and Hilferty, whose error is far below 1/freedom.
    normal = torch.randn(size, generator=generator, dtype=torch.float64)
    chi = free * (1 - 2 / (9 * free) + normal * (2 / (9 * free)).sqrt()) ** 3
    factor += torch.diag(chi.clamp_min(0).sqrt())
    return factor @ factor.T


# ---- two metrics of a draw in the space of classes ----------------------------------------------
def _inside(draw: Draw, features: Features, weighting: str) -> float:
    """What Σ_W of a draw is of Σ_T - Σ_B (micro): for macro mean(1 - 1/n_c) over 1 - K/N."""
    if weighting == "micro":
        return 1.0
    share = 1 - len(draw.counts) / features.samples
    return float((1 - 1 / draw.counts).mean()) / share if share > 0 else 1.0


def fisher(draw: Draw, features: Features, arguments: Mapping[str, Any]) -> float:
    """tr(Σ_W Σ_B⁺)/K with Σ_W = Σ_T - Σ_B: what is fixed under shuffling is their sum."""
    factor = draw.factor(arguments["between"], arguments["centre"])
    size = len(draw.counts)
    rank = min(len(features.variances), size - 1)
    if factor.shape[1] <= size:
        values, axes = torch.linalg.eigh(factor.T @ factor)
        values, axes = values[-rank:], axes[:, -rank:]
    else:
        values, vectors = torch.linalg.eigh(factor @ factor.T)
        values, vectors = values[-rank:], vectors[:, -rank:]
        axes = factor.T @ (vectors / values.clamp_min(1e-300).sqrt())
    within = (features.variances[:, None] * axes**2).sum(0)
    within = within - ((draw.factor("micro", "micro") @ axes) ** 2).sum(0)
    total = float((within.clamp_min(0) / values.clamp_min(1e-300)).sum())
    total *= _inside(draw, features, arguments["within"])
    return total / {"classes": size, "none": 1, "rank": rank}[arguments["divisor"]]


def vci(draw: Draw, features: Features, arguments: Mapping[str, Any]) -> float:
    """1 - tr(Σ_T⁺Σ_B)/min(q, K-1), Σ_T = Σ_W + Σ_B fixed."""
    weighting = arguments.get("weighting", "macro")
    white = draw.factor(weighting, weighting) / features.variances.sqrt()
    rank = min(len(features.variances), len(draw.counts) - 1)
    return max(0.0, 1 - float((white**2).sum()) / rank)


def share(draw: Draw, features: Features) -> float:
    """1 - (N-1)/(N-K) · SSW/SST; SST is fixed, and SSW what is not between classes."""
    between = float((draw.factor("micro", "micro") ** 2).sum())
    within = 1 - between / float(features.variances.sum())
    return 1 - (features.samples - 1) / (features.samples - len(draw.counts)) * within
