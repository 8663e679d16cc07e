"""Nulls: what each metric reads where there is nothing to read. A row says which null it has.

NC1 and class share are compared with shuffled labels, NC2 and NC3 with random directions, shares
with independent guesses. Shuffling is simulated from the statistics alone: the mean of n_c samples
drawn without regard to class has covariance S/n_c, S the total covariance, and the expected
within-class scatter is S times the mean of 1 - 1/n_c (exact for shuffled labels). No further look
at the data is needed. All draws come from an own generator.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.linalg import EPSILON
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.nc1 import between_scatter_factor
from ncollapse.metrics.readings import read
from ncollapse.record.readings import Null

# Averages over pairs are the same for a subset of classes: simulate at most this many.
PAIR_CLASSES = 1024
# Past the pair budget labels are shuffled among a random subset of so many classes.
SUBSET = 2048


def nulls(
    keys: Iterable[str], evidence: Evidence, definition: str = "macro", seed: int = 0
) -> dict[str, Null]:
    """The nulls of these rows that what is at hand can give.

    Past the pair budget labels are shuffled among some classes, and nothing is drawn for NC2 and
    NC3.
    """
    mine: dict[object, list[str]] = {}
    for key in keys:
        mine.setdefault(METRICS[key].null, []).append(key)
    found: dict[str, Null] = {}
    if evidence.geometry is not None:
        if "shuffled" in mine:
            part, some = _subset(evidence.statistics, evidence.geometry, seed)
            found |= _shuffled(mine["shuffled"], part, some, definition, seed)
        if "random" in mine and evidence.geometry.pairs.exact:
            found |= _random(mine["random"], evidence.geometry, definition, seed)
    if evidence.decisions is not None:
        for key in mine.get("guesses", []):
            found[key] = _guess(evidence.decisions, METRICS[key].direction)
    return found


def draws_for(num_classes: int) -> int:
    """How many times to simulate: fewer for many classes, where averages hardly vary."""
    return 20 if num_classes <= 256 else 6 if num_classes <= 2048 else 2


def _subset(
    statistics: ClassStatistics, geometry: Geometry, seed: int
) -> tuple[ClassStatistics, Geometry]:
    if geometry.pairs.exact:
        return statistics, geometry
    generator = torch.Generator().manual_seed(seed + 4)
    chosen = torch.randperm(geometry.num_classes, generator=generator)[:SUBSET]
    return statistics.select(chosen), geometry.select(chosen)


def _shuffled(
    wanted: list[str],
    statistics: ClassStatistics,
    geometry: Geometry,
    definition: str,
    seed: int,
) -> dict[str, Null]:
    """The same features under shuffled labels.

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
    keys = [key for key in wanted if root is None or key != "nc1_vci"]
    for _ in range(draws_for(count)):
        noise = torch.randn(count, dim, generator=generator, dtype=torch.float64)
        if root is not None and "nc1_vci" in wanted:
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


def _random(wanted: list[str], geometry: Geometry, definition: str, seed: int) -> dict[str, Null]:
    """Class means and classifier rows that are independent Gaussians."""
    head = geometry.weight is not None
    keys = [key for key in wanted if head or "head" not in METRICS[key].needs]
    generator = torch.Generator().manual_seed(seed + 1)
    found: dict[str, list[float]] = {}
    shape = (geometry.num_classes, geometry.num_features)
    for _ in range(draws_for(geometry.num_classes)):
        means = torch.randn(shape, generator=generator, dtype=torch.float64)
        weight = torch.randn(shape, generator=generator, dtype=torch.float64) if head else None
        _collect(found, keys, None, Geometry(means, weight), definition, generator)
    return {key: _null(key, values) for key, values in found.items()}


def _collect(
    found: dict[str, list[float]],
    keys: list[str],
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
    over_pairs = [key for key in keys if METRICS[key].pairs != "none"]
    others = [key for key in keys if METRICS[key].pairs == "none"]
    for part, some, where in ((over_pairs, small, small_geometry), (others, statistics, geometry)):
        values, _ = read(part, statistics=some, geometry=where, definition=definition)
        for key, value in values.items():
            if value is not None:
                found.setdefault(key, []).append(value)


def _null(key: str, values: list[float]) -> Null:
    """Mean and central 95 % of draws, normal, kept inside the metric's range."""
    mean = sum(values) / len(values)
    spread = 0.0
    if len(values) > 1:
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    low, high = METRICS[key].within(mean - 1.96 * spread, mean + 1.96 * spread)
    return Null(mean, low, high)


def _guess(decisions: Decisions, direction: str | None) -> Null:
    """Two decisions drawn independently with the class frequencies: how often they agree, or
    differ where less is better."""
    counts = decisions.counts.to(torch.float64)
    number = float(counts.sum())
    match = float(((counts / number) ** 2).sum())
    width = 1.96 * math.sqrt(match * (1 - match) / number)
    low, high = max(0.0, match - width), min(1.0, match + width)
    return Null(match, low, high) if direction == "up" else Null(1 - match, 1 - high, 1 - low)
