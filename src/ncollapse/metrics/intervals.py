"""95 % intervals: block jackknife, class half-samples, Wilson for shares.

The block jackknife leaves out one of ten blocks of samples at a time; where its state would be too
large, half of the classes are drawn again and again instead (a bootstrap of classes without
duplicates, which would put zero distances among the pairs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from ncollapse.collect.statistics.blocks import BlockMoments
from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.readings import read
from ncollapse.pairs.means import SampledPairs

Interval = tuple[float, float]
# Two-sided 95 % points: normal, and Student's t with nine degrees of freedom for ten blocks.
NORMAL, STUDENT_9 = 1.959964, 2.262157
HALF_SAMPLES = 30
LARGEST_SUBSET = 1024
SMALLEST_CLASSES = 30


def intervals(
    values: Mapping[str, float | None],
    evidence: Evidence,
    definition: str = "macro",
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of readings, by the rules of their rows, from what is at hand.

    Where pairs of classes were drawn, the interval says how well a mean over them is known.
    """
    found: dict[str, Interval] = {}
    statistics, geometry = evidence.statistics, evidence.geometry
    wanted = {key: value for key, value in values.items() if METRICS[key].interval == "samples"}
    if geometry is not None and wanted:
        if isinstance(geometry.pairs, SampledPairs):
            found |= _of_drawn_pairs(wanted, geometry.pairs, statistics, geometry, definition)
        elif evidence.blocks is not None:
            replicates = _replicates(list(wanted), evidence.blocks, geometry, definition)
            found |= jackknife(wanted, replicates)
        else:
            found |= half_samples(wanted, statistics, geometry, definition=definition, seed=seed)
    if evidence.decisions is not None:
        found |= _wilson(values, evidence.decisions)
    return found


def _of_drawn_pairs(
    values: Mapping[str, float | None],
    pairs: SampledPairs,
    statistics: ClassStatistics,
    geometry: Geometry,
    definition: str,
) -> dict[str, Interval]:
    keys = [key for key in values if METRICS[key].pairs == "sampled"]
    of_errors = geometry.with_pairs(pairs.errors)
    errors, _ = read(keys, statistics=statistics, geometry=of_errors, definition=definition)
    found = {}
    for key, error in errors.items():
        value = values[key]
        if value is not None and error is not None:
            found[key] = METRICS[key].within(value - NORMAL * error, value + NORMAL * error)
    return found


def _replicates(
    keys: Sequence[str], blocks: BlockMoments, geometry: Geometry, definition: str
) -> list[dict[str, float | None]]:
    """Readings without each of the blocks in turn."""
    result = []
    for block in range(len(blocks.parts)):
        part, means = blocks.without(block)
        whole = Geometry(means.means, geometry.weight, geometry.bias, means.counts)
        result.append(read(keys, statistics=part, geometry=whole, definition=definition)[0])
    return result


def jackknife(
    values: Mapping[str, float | None], replicates: Sequence[Mapping[str, float | None]]
) -> dict[str, Interval]:
    """Intervals from leave-one-block-out values: se² = (B-1)/B Σ (θ_b - θ̄)².

    Keys whose value or some replicate is null get none.
    """
    number = len(replicates)
    scale = (number - 1) ** 2 / number
    result = {}
    for key, value in values.items():
        found = [replicate.get(key) for replicate in replicates]
        sample = [v for v in found if v is not None]
        if value is not None and len(sample) == number:
            result[key] = _interval(key, value, sample, scale, STUDENT_9)
    return result


def half_samples(
    values: Mapping[str, float | None],
    statistics: ClassStatistics,
    geometry: Geometry,
    *,
    definition: str = "macro",
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals over the choice of classes: subsets of m = min(K/2, 1024) classes.

    A mean over m of K classes drawn without replacement varies by (K - m)/m times the variance
    of the mean over K; the spread of the subsets is scaled by that. None below 30 classes.
    """
    count = geometry.num_classes
    if count < SMALLEST_CLASSES:
        return {}
    size = min(count // 2, LARGEST_SUBSET)
    generator = torch.Generator().manual_seed(seed + 2)
    repeats = HALF_SAMPLES if count <= 2 * LARGEST_SUBSET else 10
    wanted = [key for key, value in values.items() if value is not None]
    samples: dict[str, list[float]] = {}
    for _ in range(repeats):
        chosen = torch.randperm(count, generator=generator)[:size]
        found, _ = read(
            wanted,
            statistics=statistics.select(chosen),
            geometry=geometry.select(chosen),
            definition=definition,
        )
        for key, value in found.items():
            if value is not None:
                samples.setdefault(key, []).append(value)
    scale = size / (count - size)
    return {
        key: _interval(key, float(values[key] or 0.0), sample, scale, NORMAL)
        for key, sample in samples.items()
        if len(sample) == repeats
    }


def _interval(
    key: str, value: float, sample: Sequence[float], scale: float, quantile: float
) -> Interval:
    """value ± quantile · √(scale · variance), on the row's scale."""
    row = METRICS[key]
    if row.scale == "log" and value > 0 and min(sample) > 0:
        width = quantile * math.sqrt(scale * _variance([math.log(v) for v in sample]))
        return row.within(value * math.exp(-width), value * math.exp(min(width, 700.0)))
    width = quantile * math.sqrt(scale * _variance(sample))
    return row.within(value - width, value + width)


def _variance(sample: Sequence[float]) -> float:
    mean = sum(sample) / len(sample)
    return sum((v - mean) ** 2 for v in sample) / (len(sample) - 1)


def wilson(share: float, number: int) -> Interval:
    """Wilson's 95 % interval of a share of `number` samples."""
    z2 = NORMAL**2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    width = NORMAL / (1 + z2 / number)
    width *= math.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    return max(0.0, min(share, middle - width)), min(1.0, max(share, middle + width))


def _wilson(values: Mapping[str, float | None], decisions: Decisions) -> dict[str, Interval]:
    return {
        key: wilson(value, decisions.num_samples)
        for key, value in values.items()
        if METRICS[key].interval == "shares" and value is not None
    }
