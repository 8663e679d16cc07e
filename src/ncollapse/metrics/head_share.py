"""Head share: of the variance within classes, the part that the classifier can see.

Softmax of Wh + b depends on h through P h alone, P the projection on the span of the rows of W less
their mean. What varies off that span costs no loss, so nothing trains it away. Rows are first
projected on the directions in which features vary at all: what a weight does elsewhere is never
asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.linalg import EPSILON, Factor, factored
from ncollapse.metrics.nc1 import between_of, whitened_of
from ncollapse.metrics.pencil import Whitened, column_space
from ncollapse.record.readings import Null

# Directions in which only class means differ count above this share of their length.
APART = 1e-6


@dataclass(frozen=True, eq=False)
class Seen:
    """What the rows A (K, q) of a centred classifier span among the q directions that features
    occupy. inside: orthonormal columns (d, q) of these, None where all d are. span: orthonormal
    columns (d, r) of what the rows span; factor: of AᵀA."""

    inside: Float[Tensor, "dim used"] | None
    span: Float[Tensor, "dim rank"]
    factor: Factor
    occupied: int

    @property
    def rank(self) -> int:
        return self.factor.rank


def head_share(
    statistics: ClassStatistics, geometry: Geometry, *, weighting: str = "macro"
) -> Float[Tensor, ""]:
    """tr(P Σ_W)/tr Σ_W, P the projection on the span of the classifier's rows less their mean,
    among the q directions that features occupy. In [0, 1]; chance reads r/q, r ≤ K - 1 the rank.

    Below chance training has made features still where the classifier looks; above it what is left
    of their spread lies where it decides. A share: it says nothing of how large the spread is, and
    has no ideal. Differentiable in Σ_W and in the weight, the occupied directions held fixed. NaN
    where Σ_W in this weighting is not held, and where nothing varies within classes. Source: this
    library.

    Raises ValueError where the rows span all occupied directions, where they are all alike, and of
    a sketch.
    """
    scatter = statistics.scatter(weighting)
    if scatter is None and statistics.sketch is not None:
        raise ValueError("a sketch of Σ_W does not resolve the head's directions; use mode full")
    if scatter is None or not float(scatter.detach().diagonal().sum()) > 0:
        return torch.full((), torch.nan, dtype=torch.float64)
    assert geometry.weight is not None
    seen = seen_of(statistics, geometry, weighting)
    V, trace = seen.span, scatter.diagonal().sum()
    value = ((scatter @ V) * V).sum() / trace
    W = geometry.centred_weight
    if not W.requires_grad:
        return value.clamp(max=1.0)
    # d tr(P S) = 2 tr(A⁺ dA (I - P) S), P = A⁺A.
    S = scatter.detach()
    toward = S @ V
    pinv = seen.factor.pinv if seen.inside is None else seen.inside @ seen.factor.pinv
    moved = S @ pinv - V @ (toward.T @ pinv)
    moved = moved @ seen.factor.left.T
    if seen.inside is not None:
        moved = seen.inside @ (seen.inside.T @ moved)
    return value + 2 * ((W - W.detach()) * moved.T).sum() / trace.detach()


def chance(
    statistics: ClassStatistics, geometry: Geometry, *, weighting: str = "macro"
) -> Null | None:
    """What `head_share` reads of rows drawn at random, alike in the q directions that features
    occupy: r/q, with variance 2r(q-r)/(q(q-1)(q+2)) · (tr Σ²/(tr Σ)² - 1/q), exactly. The ends are
    those of the beta law with these moments, which is exact for variance in one direction."""
    from scipy.special import betaincinv

    scatter = statistics.scatter(weighting)
    if scatter is None or geometry.weight is None:
        return None
    S = scatter.detach()
    trace = float(S.diagonal().sum())
    try:
        seen = seen_of(statistics, geometry, weighting)
    except ValueError:
        return None
    r, q = seen.rank, seen.occupied
    if not trace > 0:
        return None
    mean = r / q
    uneven = float((S / trace).square().sum()) - 1 / q
    variance = 2 * r * (q - r) / (q * (q - 1) * (q + 2)) * max(uneven, 0.0)
    if variance <= 1e-24:
        return Null(mean, mean, mean)
    size = mean * (1 - mean) / variance - 1
    ends = betaincinv(mean * size, (1 - mean) * size, [0.025, 0.975])
    return Null(mean, float(ends[0]), float(ends[1]))


def seen_of(statistics: ClassStatistics, geometry: Geometry, weighting: str) -> Seen:
    """What the classifier sees of these features. ValueError as `head_share`."""
    scatter = statistics.scatter(weighting)
    assert scatter is not None and geometry.weight is not None
    factor, white = None, None
    if bool((geometry.centred_means != 0).any()):
        factor = between_of(statistics, geometry, weighting, weighting)
        white = whitened_of(statistics, scatter, factor)
    means = geometry.centred_means.detach()
    most = statistics.num_samples - statistics.num_classes
    return seen_by(geometry.weight, scatter, means, factor, white, statistics.resolution, most)


def seen_by(
    weight: Float[Tensor, "classes dim"],
    scatter: Float[Tensor, "dim dim"],
    means: Float[Tensor, "classes dim"],
    factor: Factor | None,
    white: Whitened | None,
    resolution: float,
    most: int,
) -> Seen:
    """Of a weight, Σ_W and centred means; factor, white: of Σ_B and of that through Σ_W, with which
    it is kept, None where the means coincide. most: the rank that Σ_W can have."""
    kept: list[tuple[Tensor, Seen]] = []
    if white is not None:
        kept = white.__dict__.setdefault("_seen", kept)
    for known, found in kept:
        if known is weight:
            return found
    W = weight.detach()
    W = W - W.mean(0)
    dim = scatter.shape[0]
    inside: Tensor | None = None
    if white is None or white.rank < dim:
        inside = column_space(scatter, resolution=resolution, most=most)
        if factor is not None and white is not None and white.free is not None:
            inside = _with_means(inside, means, factor.rank - white.free.shape[1])
        inside = inside if inside.shape[1] < dim else None
    A = W if inside is None else W @ inside
    if not float(torch.linalg.vector_norm(A)) > EPSILON * float(torch.linalg.vector_norm(W)):
        raise ValueError("the classifier's rows are alike in all directions that features occupy")
    unit = torch.full((len(A),), len(A) ** -0.5, dtype=torch.float64)
    own = factored(A, unit)
    if own.range is None:
        raise ValueError(
            f"the classifier's rows span all {A.shape[1]} directions that features occupy, so "
            "softmax sees all of their variance"
        )
    span = own.range if inside is None else inside @ own.range
    result = Seen(inside, span, own, A.shape[1])
    kept.append((weight, result))
    return result


def _with_means(
    inside: Float[Tensor, "dim used"], means: Float[Tensor, "classes dim"], number: int
) -> Float[Tensor, "dim more"]:
    """The columns with `number` more: the directions in which only class means differ."""
    if number <= 0:
        return inside
    outside = means - (means @ inside) @ inside.T
    _, sizes, rows = torch.linalg.svd(outside, full_matrices=False)
    apart = sizes > APART * float(torch.linalg.vector_norm(means))
    return torch.cat([inside, rows[apart][:number].T], 1)
