"""NC1, variability collapse: how little features vary within classes.

Σ_W and Σ_B take class weights p_c: 1/K each (macro, default) or n_c/N (micro). Every function is
differentiable in the means and the within-class statistics.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.summary import ClassStatistics, between_factor
from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.linalg import Factor, factored
from ncollapse.metrics.pencil import Whitened, trace_through_pinv, unexplained_share, whitened
from ncollapse.pairs.rows import TINY, Rows
from ncollapse.pairs.sums import squared_distances


def class_share(statistics: ClassStatistics, geometry: Geometry) -> Float[Tensor, ""]:
    """Debiased share of feature variance explained by class, 1 - (N-1)/(N-K) · SSW/SST.

    SSW = Σ_i ‖h_i - μ_y‖², SST = Σ_i ‖h_i - h̄‖², over samples. Unitless, at most 1, ideal 1; 0 in
    expectation for labels that mean nothing (it may fall below 0). NaN when N = K.
    """
    within, between, count = _sums_of_squares(statistics, geometry)
    samples = statistics.num_samples
    if samples == count:
        return torch.full_like(within, torch.nan)
    return 1 - (samples - 1) / (samples - count) * within / (within + between)


def _sums_of_squares(statistics: ClassStatistics, geometry: Geometry) -> tuple[Tensor, Tensor, int]:
    number = statistics.counts.to(torch.float64)
    within = (number * statistics.traces).sum()
    between = statistics.num_samples * between_trace(statistics, geometry, "micro")
    return within, between, statistics.num_classes


def between_trace(
    statistics: ClassStatistics, geometry: Geometry, weighting: str
) -> Float[Tensor, ""]:
    """tr Σ_B with classes and their centre weighed alike, without a copy of the means."""
    weights = statistics.class_weights(weighting)
    means = geometry.raw_rows.matrix
    return Rows(means, weights @ means).weighted_square(weights)


def between_scatter_factor(
    statistics: ClassStatistics, geometry: Geometry, between: str = "macro", centre: str = "macro"
) -> Float[Tensor, "classes dim"]:
    """A with Σ_B = AᵀA = Σ p_c m_c m_cᵀ; `between` weighs the classes, `centre` the global mean."""
    return between_factor(
        geometry, statistics.class_weights(between), statistics.class_weights(centre)
    )


def between_of(
    statistics: ClassStatistics, geometry: Geometry, between: str = "macro", centre: str = "macro"
) -> Factor:
    """Σ_B in a factor of rank min(d, K - 1) at most; one for all metrics that weigh classes alike.

    Raises ValueError when all class means coincide.
    """
    if between == centre == "macro":
        return geometry.between
    p, q = (statistics.class_weights(weighting) for weighting in (between, centre))
    null = q / p.sqrt()
    return factored(between_factor(geometry, p, q), null / torch.linalg.vector_norm(null))


def nc1_fisher(
    statistics: ClassStatistics,
    geometry: Geometry,
    *,
    within: str = "macro",
    between: str = "macro",
    centre: str = "macro",
    divisor: str = "classes",
) -> Float[Tensor, ""]:
    """tr(Σ_W Σ_B⁺)/K, the within-class scatter seen through the between-class one.

    Unitless, ≥ 0, ideal 0. The rank of Σ_B is min(d, K - 1) by construction; a factor of it is
    used, so the result cannot be negative. `divisor`: classes (K), none, or rank.
    A scatter kept in the span of the means gives the same number (without a derivative); a sketch
    of it gives an unbiased estimate for isotropic noise. NaN where Σ_W in this
    weighting is not held. Raises ValueError when all class means coincide. Source: Papyan, Han,
    Donoho 2020.
    """
    scatter = statistics.scatter(within)
    if scatter is None and statistics.sketch is None and statistics.span is None:
        return torch.full((), torch.nan, dtype=torch.float64)
    rank = min(geometry.num_features, geometry.num_classes - 1)
    factor = between_of(statistics, geometry, between, centre)
    if scatter is not None:
        rows = between_scatter_factor(statistics, geometry, between, centre)
        value = trace_through_pinv(rows, scatter, factor)
    elif statistics.span is not None:
        seen = statistics.span.basis.T @ factor.pinv
        inside = getattr(statistics.span, within)
        value = ((inside @ seen) * seen).sum(0).clamp_min(0).sum()
    else:
        value = _from_sketch(statistics, factor, rank, within)
    size = {"classes": geometry.num_classes, "none": 1, "rank": rank}[divisor]
    return value / size


def _from_sketch(
    statistics: ClassStatistics, factor: Factor, rank: int, within: str
) -> Float[Tensor, ""]:
    """tr(Σ_W Σ_B⁺) from a Gaussian sketch, its upward bias removed.

    Lifting RΣ_WRᵀ back through the range V of Σ_B gives V(Σ_W + ℓI)Vᵀ, ℓ = tr(P⊥Σ_W)/(m - r - 1)
    and P⊥ the projector off that range; tr Σ_W is known exactly, so ℓ is the solution of one linear
    equation. Exact in the mean, for isotropic noise with m > r + 1.
    """
    sketch = statistics.sketch
    assert sketch is not None
    size = sketch.matrix.shape[0]
    if size <= rank + 1:
        return torch.full((), torch.nan, dtype=torch.float64)
    V = factor.range
    V = torch.eye(factor.rank, dtype=torch.float64) if V is None else V
    lift = torch.linalg.pinv(sketch.matrix @ V)
    # In principal axes of Σ_B, where each diagonal entry is a variance and cannot be negative.
    _, values, axes = torch.linalg.svd(factor.F @ V, full_matrices=False)
    lift = axes @ lift
    seen = (lift @ sketch.within @ lift.T).diagonal().clamp_min(0)
    leak = 1 / (size - factor.rank - 1)
    outside = (statistics.within_trace(within) - seen.sum()) / (1 - factor.rank * leak)
    corrected = (seen - leak * outside.clamp_min(0)).clamp_min(0)
    return (corrected / values**2).sum()


def nc1_ratio(
    statistics: ClassStatistics, geometry: Geometry, *, weighting: str = "macro"
) -> Float[Tensor, ""]:
    """tr Σ_W / tr Σ_B. Unitless, ≥ 0, ideal 0. Source: Tirer, Huang, Niles-Weed 2023."""
    return statistics.within_trace(weighting) / between_trace(statistics, geometry, weighting)


def fisher_ratio(
    statistics: ClassStatistics, geometry: Geometry, *, weighting: str = "macro"
) -> Float[Tensor, ""]:
    """tr Σ_B / tr Σ_W. Unitless, ≥ 0; diverges under collapse whatever the frame."""
    return 1 / nc1_ratio(statistics, geometry, weighting=weighting)


def nc1_cdnv(
    statistics: ClassStatistics, geometry: Geometry, *, exponent: int = 1
) -> Float[Tensor, ""]:
    """Class-distance normalised variance: mean over pairs of (v_i + v_j)/(2 ‖μ_i - μ_j‖^(2p)).

    p = `exponent`: 1 (unitless, default) or 2 (units 1/length², as printed in language-model
    work). ≥ 0, ideal 0, infinite when two means coincide. Source: Galanti et al. 2022.
    """
    return geometry.pairs.spread(statistics.traces, exponent)


def worst_share(statistics: ClassStatistics, geometry: Geometry) -> Float[Tensor, ""]:
    """min over pairs of ‖μ_i - μ_j‖²/(‖μ_i - μ_j‖² + v_i + v_j): of the mean squared distance
    between a sample of one class and one of another the share that their means explain.

    In [0, 1], ideal 1; 0 for classes with one mean. Past 2,048 classes of each class's nearest mean
    only. NaN when N = K. Source: this library.
    """
    if statistics.num_samples == statistics.num_classes:
        return torch.full((), torch.nan, dtype=torch.float64)
    return class_shares(statistics, geometry)[0].min()


def class_shares(statistics: ClassStatistics, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Per class the least of its shares (see `worst_share`), and the class that it has it with."""
    spreads = statistics.traces
    if geometry.num_classes > LARGEST_GRAM:
        pairs = geometry.mean_pairs
        assert pairs.nearest is not None and pairs.nearest_distance is not None
        square, rival = pairs.nearest_distance**2, pairs.nearest
        return _explained(square, spreads + spreads[rival]), rival
    square = squared_distances(geometry.centred_means)
    shares = _explained(square, spreads[:, None] + spreads[None])
    shares = shares + torch.diag(torch.full_like(spreads, torch.inf))
    least = shares.min(1)
    return least.values, least.indices


def _explained(square: Tensor, spread: Tensor) -> Tensor:
    total = square + spread
    return torch.where(total > 0, square / total.clamp_min(TINY), torch.zeros_like(total))


def nc1_vci(
    statistics: ClassStatistics, geometry: Geometry, *, weighting: str = "macro"
) -> Float[Tensor, ""]:
    """Variability collapse index 1 - tr(Σ_T⁺ Σ_B)/rank Σ_B, Σ_T = Σ_W + Σ_B.

    Unitless, in [0, 1], ideal 0; invariant under invertible linear maps of the features. Formed
    without the cancellation at collapse. NaN where Σ_W in this weighting is not held, and where its
    rank is N - K: samples in general position read 0 whatever they are. Raises ValueError when all
    class means coincide. Source: Xu & Liu 2023.
    """
    scatter = statistics.scatter(weighting)
    if scatter is None:
        return torch.full((), torch.nan, dtype=torch.float64)
    factor = between_of(statistics, geometry, weighting, weighting)
    white = whitened_of(statistics, scatter, factor)
    free = statistics.num_samples - statistics.num_classes
    if free <= scatter.shape[0] and white.rank > 0 and white.rank >= free:
        return torch.full((), torch.nan, dtype=torch.float64)
    rows = between_scatter_factor(statistics, geometry, weighting, weighting)
    return unexplained_share(rows, scatter, factor, white)


def whitened_of(statistics: ClassStatistics, scatter: Tensor, factor: Factor) -> Whitened:
    """F of Σ_B through a scatter of the same statistics; formed once, kept with the factor."""
    kept: list[tuple[Tensor, Whitened]] = factor.__dict__.setdefault("_whitened", [])
    for known, found in kept:
        if known is scatter:
            return found
    found = whitened(
        scatter,
        factor.F,
        resolution=statistics.resolution,
        most=statistics.num_samples - statistics.num_classes,
    )
    kept.append((scatter, found))
    return found
