"""Comparators: what each metric reads where there is nothing to read.

NC1 and class share are compared with shuffled labels, NC2 and NC3 with random directions, shares
with independent guesses. Shuffling is simulated from the statistics alone: the mean of n_c samples
drawn without regard to class has covariance S/n_c, S the total covariance, and the expected
within-class scatter is S times the mean of 1 - 1/n_c (exact for shuffled labels). No further look
at the data is needed. All draws come from an own generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.linalg import EPSILON
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.nc1 import between_scatter_factor
from ncollapse.metrics.nc2 import orthogonal_floor, simplex_floor
from ncollapse.metrics.readings import read
from ncollapse.record.readings import Null

SHUFFLED = ("class_share", "nc1_fisher", "nc1_ratio", "nc1_cdnv", "nc1_vci", "fisher_ratio")
# Averages over pairs are the same for a subset of classes: simulate at most this many.
PAIR_CLASSES = 1024
_PAIR_KEYS = {"nc1_cdnv", "nc2_angle_ratio"} | {
    f"nc2_{name}_{side}"
    for name in ("equiangular", "maxangle", "gof")
    for side in ("means", "weights")
}


def draws_for(num_classes: int) -> int:
    """How many times to simulate: fewer for many classes, where averages hardly vary."""
    return 20 if num_classes <= 256 else 6 if num_classes <= 2048 else 2


def shuffled_labels(
    statistics: ClassStatistics,
    geometry: Geometry,
    *,
    definition: str = "macro",
    seed: int = 0,
) -> dict[str, Null]:
    """Null of the NC1 metrics and class share: the same features under shuffled labels.

    Without a kept scatter the spread is taken as isotropic, and the metrics that need the scatter
    get no null.
    """
    count, dim = geometry.num_classes, geometry.num_features
    weighting = "micro" if statistics.micro is not None else "macro"
    scatter = statistics.scatter(weighting)
    total = float(statistics.within_trace("micro"))
    micro = between_scatter_factor(statistics, geometry, "micro", "micro")
    total += float((micro**2).sum())
    samples = statistics.num_samples
    if samples < 2 or total <= 0:
        return {}
    total *= samples / (samples - 1)
    root: Tensor | None = None
    if scatter is not None:
        factor = between_scatter_factor(statistics, geometry, weighting, weighting)
        covariance = scatter + factor.T @ factor
        covariance = covariance * (total / float(covariance.trace()))
        spread, axes = torch.linalg.eigh(covariance)
        root = axes * spread.clamp_min(0).sqrt()
    inverse = 1 / statistics.counts.to(torch.float64)
    loose = ClassStatistics(
        counts=statistics.counts,
        traces=total * (1 - inverse),
        macro=None if scatter is None else covariance * (1 - inverse).mean(),
        micro=None if scatter is None else covariance * (1 - count / samples),
        resolution=statistics.resolution,
    )
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[float]] = {}
    keys = tuple(key for key in SHUFFLED if root is None or key != "nc1_vci")
    for _ in range(draws_for(count)):
        noise = torch.randn(count, dim, generator=generator, dtype=torch.float64)
        if root is not None:
            white = noise[:, spread > EPSILON * dim * spread[-1]] * inverse.sqrt()[:, None]
            found.setdefault("nc1_vci", []).append(_white_vci(loose, white, definition))
        noise = noise @ root.T if root is not None else noise * math.sqrt(total / dim)
        means = noise * inverse.sqrt()[:, None]
        _collect(found, keys, loose, Geometry(means), definition, generator)
    return {key: _null(key, values) for key, values in found.items()}


def _white_vci(loose: ClassStatistics, means: Tensor, definition: str) -> float:
    """VCI where Σ_W is c I: the mean of c/(c + b) over the eigenvalues b of Σ_B.

    VCI is the same under invertible linear maps, so it may be read after whitening, where no
    pseudo-inverse is needed.
    """
    weighting = METRICS["nc1_vci"].resolve(definition)[1].get("weighting", "macro")
    weights = loose.class_weights(weighting)
    inside = float((weights * (1 - 1 / loose.counts.to(torch.float64))).sum())
    factor = between_scatter_factor(loose, Geometry(means), weighting, weighting)
    rank = min(means.shape[1], means.shape[0] - 1)
    between = torch.linalg.svdvals(factor)[:rank] ** 2
    return float((inside / (inside + between)).mean())


def random_directions(
    num_classes: int, num_features: int, *, head: bool, definition: str = "macro", seed: int = 0
) -> dict[str, Null]:
    """Null of NC2 and NC3: class means and classifier rows that are independent Gaussians."""
    keys = [key for key in METRICS if key.startswith(("nc2_", "nc3_"))]
    keys = [key for key in keys if head or "head" not in METRICS[key].needs]
    generator = torch.Generator().manual_seed(seed + 1)
    found: dict[str, list[float]] = {}
    shape = (num_classes, num_features)
    for _ in range(draws_for(num_classes)):
        means = torch.randn(shape, generator=generator, dtype=torch.float64)
        weight = torch.randn(shape, generator=generator, dtype=torch.float64) if head else None
        _collect(found, keys, None, Geometry(means, weight), definition, generator)
    return {key: _null(key, values) for key, values in found.items()}


def _collect(
    found: dict[str, list[float]],
    keys: list[str] | tuple[str, ...],
    statistics: ClassStatistics | None,
    geometry: Geometry,
    definition: str,
    generator: torch.Generator,
) -> None:
    """Read `keys`, those that average over pairs on a random subset of many classes."""
    small_geometry, small = geometry, statistics
    if geometry.num_classes > 2 * PAIR_CLASSES:
        chosen = torch.randperm(geometry.num_classes, generator=generator)[:PAIR_CLASSES]
        small_geometry = geometry.select(chosen)
        small = None if statistics is None else statistics.select(chosen)
    for part, some, where in (
        ([key for key in keys if key in _PAIR_KEYS], small, small_geometry),
        ([key for key in keys if key not in _PAIR_KEYS], statistics, geometry),
    ):
        values, _ = read(part, statistics=some, geometry=where, definition=definition)
        for key, value in values.items():
            if value is not None:
                found.setdefault(key, []).append(value)


def _null(key: str, values: list[float]) -> Null:
    """Mean and central 95 % of draws, normal, kept inside the metric's range."""
    row = METRICS[key]
    mean = sum(values) / len(values)
    spread = 0.0
    if len(values) > 1:
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    low, high = mean - 1.96 * spread, mean + 1.96 * spread
    low = low if row.lower is None else max(low, row.lower)
    high = high if row.upper is None else min(high, row.upper)
    return Null(mean, low, high)


def guesses(decisions: Decisions) -> dict[str, Null]:
    """Null of the shares: decisions drawn independently with the class frequencies."""
    counts = decisions.counts.to(torch.float64)
    number = float(counts.sum())
    match = float(((counts / number) ** 2).sum())
    width = 1.96 * math.sqrt(match * (1 - match) / number)
    hit = Null(match, max(0.0, match - width), min(1.0, match + width))
    miss = Null(1 - match, 1 - hit.high, 1 - hit.low)
    return {"ncc_accuracy": hit, "accuracy": hit, "nc4_mismatch": miss}


def floors(
    statistics: ClassStatistics,
    geometry: Geometry,
    epsilon: float,
    *,
    definition: str = "macro",
) -> dict[str, float]:
    """Smallest reading that the dtype of the features can carry (largest for class share).

    Rounding moves a coordinate x by an error of variance ulp(x)²/12, ulp(x) = ε·2^⌊log₂|x|⌋;
    `epsilon` is the spacing at 1 of the features' dtype. For K > d + 1 the frame distances have
    the floors that geometry itself sets.
    """
    means = geometry.means
    assert means is not None
    _, exponent = torch.frexp(means)
    ulp = torch.where(means == 0, 0.0, epsilon * torch.exp2((exponent - 1).to(torch.float64)))
    variance = ulp**2 / 12
    weights = statistics.class_weights("macro")
    diagonal = torch.diag(weights @ variance)
    rounding = ClassStatistics(
        counts=statistics.counts,
        traces=variance.sum(1),
        macro=diagonal,
        micro=diagonal,
    )
    keys = [key for key in SHUFFLED if key != "fisher_ratio"]
    values, _ = read(keys, statistics=rounding, geometry=geometry, definition=definition)
    found = {key: value for key, value in values.items() if value is not None}
    for side in ("means", "weights"):
        found[f"nc2_etf_{side}"] = simplex_floor(geometry.num_classes, geometry.num_features)
        found[f"nc2_orthogonal_{side}"] = orthogonal_floor(
            geometry.num_classes, geometry.num_features
        )
    return found
