"""What features say of their inputs: information under added noise, between bounds, in nats.

A deterministic network keeps all of a continuous input, so information is that of Z = h(X) + s E,
E standard normal, and depends on s: a length in the units of the features. X is one of the N
samples at hand, each as likely; Z is then a mixture of N Gaussians, and the bounds here are exact
for it (no estimate of a density stands behind them). What they say of the population ends at
log N: N samples cannot show more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.metrics.interpolation import Split, checked, double

# A lower bound this near to the ceiling says no more than the ceiling.
SATURATED = 0.99
ROWS = 1024


@dataclass(frozen=True)
class Bounds:
    """lower ≤ I ≤ upper, in nats, for X drawn among the samples; ceiling: the most that these
    samples could show (log N, given the class Σ p_c log n_c)."""

    lower: float
    upper: float
    ceiling: float

    @property
    def saturated(self) -> bool:
        """Whether even the lower bound stands at the ceiling (within 1 %)."""
        return self.lower >= SATURATED * self.ceiling

    def __str__(self) -> str:
        if self.saturated:
            return (
                f"at the ceiling of {self.ceiling:.3g} nats: at least {self.lower:.3g}, and these "
                "samples cannot say how much more; give more of them, or more noise"
            )
        return f"{self.lower:.3g} to {self.upper:.3g} nats (ceiling {self.ceiling:.3g})"


@dataclass(frozen=True)
class Information:
    """Z with its input, with its input given the class, and with the class; entropy: H(Y).

    The first is the sum of the other two, since the class is a function of the input; the bounds
    on the last come from the first two and 0 ≤ I(Z;Y) ≤ H(Y). At collapse I(Z;X|Y) → 0 and, where
    no two classes lie within a few s, I(Z;X) → H(Y): of any distinct points, simplex or not.
    """

    input: Bounds
    given_class: Bounds
    label: Bounds
    entropy: float


def information(features: Tensor, labels: Tensor, noise: float) -> Information:
    """I(Z;X), I(Z;X|Y) and I(Z;Y) for Z = h + `noise` · E, between bounds by distances of pairs:

        -1/N Σ_i log 1/N Σ_j e^(-‖h_i - h_j‖²/(8 s²)) ≤ I(Z;X) ≤ the same with 2 s²,

    the lower by Bhattacharyya, the upper by Kullback-Leibler distances. In nats, within 0 and
    log N; N² d. Raises ValueError for noise that is not positive, fewer than two classes, shapes
    that disagree, NaN. Source: Kolchinsky & Tracey 2017 (formula read in code of others).
    """
    s = _positive(noise)
    classes = checked([features], labels)
    rows = double(features)
    counts = torch.bincount(classes).double()
    shares = (counts / counts.sum()).tolist()
    whole = _by_distances(rows, s)
    parts = [_by_distances(rows[classes == k], s) for k in range(len(shares))]
    within = Bounds(
        *(
            sum(p * getattr(part, end) for p, part in zip(shares, parts, strict=True))
            for end in ("lower", "upper", "ceiling")
        )
    )
    entropy = -sum(p * math.log(p) for p in shares)
    low = max(0.0, whole.lower - within.upper)
    high = min(entropy, whole.upper - within.lower)
    return Information(whole, within, Bounds(min(low, high), max(low, high), entropy), entropy)


def _by_distances(rows: Tensor, s: float) -> Bounds:
    count = len(rows)
    centred = rows - rows.mean(0)
    square = (centred**2).sum(1)
    sums = {8.0: 0.0, 2.0: 0.0}
    for start in range(0, count, ROWS):
        part = slice(start, start + ROWS)
        gaps = (square[part, None] + square - 2 * centred[part] @ centred.T).clamp_min(0)
        for factor in sums:
            sums[factor] -= float((-gaps / (factor * s**2)).logsumexp(1).sum())
    ceiling = math.log(count)
    lower, upper = (min(max(sums[f] / count + ceiling, 0.0), ceiling) for f in (8.0, 2.0))
    return Bounds(lower, upper, ceiling)


@dataclass(frozen=True)
class Redundancy:
    """Upper bounds on I(Z;X|Y), the information about the input that the class does not need, each
    at most the next, in nats: gaussian (all of Σ_c), isotropic (its trace), variance (V/(2 s²))."""

    gaussian: float
    isotropic: float
    variance: float


def redundant_information(features: Tensor, labels: Tensor, noise: float) -> Redundancy:
    """Redundant information is bounded by variance within classes. With Z = h + `noise` · E, Σ_c
    the covariance of class c (divisor n_c), v_c its trace, V = Σ p_c v_c:

        I(Z;X|Y) ≤ Σ p_c ½ log det(I + Σ_c/s²) ≤ Σ p_c (d/2) log(1 + v_c/(d s²)) ≤ V/(2 s²),

    since a Gaussian has the most entropy of its covariance. All ≥ 0, ideal 0; exact for X drawn
    among the samples, and for a population where Σ_c are its. Features as they are:
    `unit_largest` divides them by their largest norm. Raises ValueError as `information`. Source:
    derived; Sakamoto & Sato 2026 bound it by the variance (constants not read).
    """
    s = _positive(noise)
    found = Split.of(features, checked([features], labels))
    dim = found.rest.shape[1]
    gaussian = isotropic = variance = 0.0
    for k, count in enumerate(torch.bincount(found.labels).tolist()):
        share = count / len(found.labels)
        spread = torch.linalg.svdvals(found.rest[found.labels == k]) ** 2 / (count * s**2)
        gaussian += share * 0.5 * float(spread.log1p().sum())
        isotropic += share * 0.5 * dim * math.log1p(float(spread.sum()) / dim)
        variance += share * 0.5 * float(spread.sum())
    return Redundancy(gaussian, isotropic, variance)


def gaussian_information(features: Tensor, noise: float) -> float:
    """½ log det(I + Σ/s²) of the covariance Σ of all features (divisor N), in nats.

    An upper bound on I(Z;X) whatever the law of the features, and equal to it for a Gaussian one.
    Raises ValueError for noise that is not positive, fewer than two samples, NaN.
    """
    s = _positive(noise)
    rows = _rows(features)
    values = torch.linalg.svdvals(rows - rows.mean(0)) ** 2 / (len(rows) * s**2)
    return 0.5 * float(values.log1p().sum())


def unit_largest(features: Tensor) -> Float[Tensor, "samples dim"]:
    """Features over their largest norm, so that `noise` is a share of it. ValueError for zeros."""
    rows = _rows(features)
    return rows / _length(float(torch.linalg.vector_norm(rows, dim=1).max()))


def unit_spread(features: Tensor) -> Float[Tensor, "samples dim"]:
    """Centred features over their root mean square distance from their mean: whatever is read of
    them does not depend on scale or offset. ValueError where all coincide."""
    rows = _rows(features)
    rows = rows - rows.mean(0)
    return rows / _length(float((rows**2).sum(1).mean().sqrt()))


@dataclass(frozen=True)
class Gaussianity:
    """Mardia's kurtosis of residuals over that of a Gaussian sample (ideal 1), its z score, and
    the number of directions that were read."""

    kurtosis: float
    score: float
    directions: int


def residual_gaussianity(features: Tensor, labels: Tensor, directions: int = 9) -> Gaussianity:
    """How Gaussian the variation within classes is, along its leading `directions` r.

    b = mean (zᵀ Σ⁻¹ z)² over residuals z about their class means, Σ their covariance there; a
    Gaussian sample has r(r+2)(N-1)/(N+1), with standard deviation √(8 r(r+2)/N). Above 1: heavier
    tails, or classes that vary by different amounts. Fewer directions are read where fewer vary.
    Raises ValueError where nothing varies within classes, and as `information`. Source: Mardia
    1970 (remembered, not read).
    """
    if directions < 1:
        raise ValueError(f"directions={directions}; at least 1 is needed")
    found = Split.of(features, checked([features], labels))
    left, values, _ = torch.linalg.svd(found.rest, full_matrices=False)
    keep = values > 1e-7 * torch.linalg.vector_norm(double(features))
    r, count = min(directions, int(keep.sum())), len(found.rest)
    if r < 1:
        raise ValueError("nothing varies within classes; residuals of some size are needed")
    b = float(((left[:, :r] ** 2).sum(1) * count).square().mean())
    wanted = r * (r + 2) * (count - 1) / (count + 1)
    return Gaussianity(b / wanted, (b - wanted) / math.sqrt(8 * r * (r + 2) / count), r)


def _rows(features: Tensor) -> Tensor:
    if features.dim() != 2 or len(features) < 2 or not bool(torch.isfinite(features).all()):
        raise ValueError(
            f"features have shape {tuple(features.shape)}; at least two rows (samples, dim) of "
            "finite numbers are needed"
        )
    return double(features)


def _positive(noise: float) -> float:
    if not (noise > 0 and math.isfinite(noise)):
        raise ValueError(
            f"noise={noise}; a positive length in the units of the features is needed, since "
            "without noise information has no bound"
        )
    return float(noise)


def _length(value: float) -> float:
    if not value > 0:
        raise ValueError("all features coincide, so they have no scale; give features that differ")
    return value
