"""95 % intervals: block jackknife, class half-samples, Wilson for shares.

The block jackknife leaves out one of ten blocks of samples at a time; where its state would be too
large, half of the classes are drawn again and again instead (a bootstrap of classes without
duplicates, which would put zero distances among the pairs).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.readings import read

Interval = tuple[float, float]
# Two-sided 95 % points: normal, and Student's t with nine degrees of freedom for ten blocks.
NORMAL, STUDENT_9 = 1.959964, 2.262157
HALF_SAMPLES = 30
LARGEST_SUBSET = 1024
SMALLEST_CLASSES = 30


def jackknife(
    values: dict[str, float | None], replicates: Sequence[dict[str, float | None]]
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
    keys: Iterable[str],
    values: dict[str, float | None],
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
    wanted = [key for key in keys if values.get(key) is not None]
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
    """value ± quantile · √(scale · variance), on the log scale for the positive NC1 metrics."""
    row = METRICS[key]
    positive = key.startswith("nc1_") or key == "fisher_ratio"
    if positive and value > 0 and min(sample) > 0:
        width = quantile * math.sqrt(scale * _variance([math.log(v) for v in sample]))
        low, high = value * math.exp(-width), value * math.exp(min(width, 700.0))
    else:
        width = quantile * math.sqrt(scale * _variance(sample))
        low, high = value - width, value + width
    low = low if row.lower is None else max(low, row.lower)
    high = high if row.upper is None else min(high, row.upper)
    return low, high


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


def of_decisions(values: dict[str, float | None], decisions: Decisions) -> dict[str, Interval]:
    """Wilson intervals of the shares over samples."""
    keys = ("nc4_mismatch", "accuracy", "ncc_accuracy")
    return {
        key: wilson(value, decisions.num_samples)
        for key in keys
        if (value := values.get(key)) is not None
    }
