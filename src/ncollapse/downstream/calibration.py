"""Calibration: whether a model is right as often as it is sure, with intervals.

Samples are sorted by their confidence, the softmax probability of the class decided, into bins;
a bin's gap is its mean confidence minus its accuracy. Sums of a bin add up over batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ncollapse.downstream.views import View

ECE, OVERCONFIDENCE = "calibration_error", "overconfidence"
BINS = 15
Z = 1.959964
DRAWS = 2000


@dataclass(frozen=True)
class Bin:
    """One point of the reliability curve: low < confidence ≤ high, how many samples, their mean
    confidence and accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """error: expected calibration error, the mean over samples of the size of their bin's gap
    (mean confidence minus accuracy), in [0, 1], ideal 0, with its 95 % interval; null: what a
    model that is right exactly as often as it is sure would read of as many samples, on average.
    overconfidence: mean confidence minus accuracy, with its interval. curve: the bins that hold
    samples."""

    error: float
    interval: tuple[float, float]
    null: float
    overconfidence: float
    overconfidence_interval: tuple[float, float]
    curve: tuple[Bin, ...]
    samples: int

    @property
    def verdict(self) -> str:
        """over-confident, under-confident or cannot tell, by the interval of overconfidence."""
        low, high = self.overconfidence_interval
        if low > 0:
            return "over-confident"
        return "under-confident" if high < 0 else "cannot tell"


def calibration(
    logits: Tensor,
    labels: Tensor,
    *,
    bins: int = BINS,
    mass: bool = False,
    seed: int = 0,
) -> Calibration:
    """Calibration of logits (samples, classes) on labels; of probabilities give their logarithm.

    bins: of equal width, (low, high], all of them counted; with `mass` of equal numbers of samples
    (samples of one confidence may fall on both sides of an edge, in their order).

    The error is read too high of few samples: it adds up sizes of gaps, noise too (compare with
    `null`). Its interval, of the population error in these bins, holds with at least 95 %: the
    error is a 1-norm of the bins' gaps, so by the triangle inequality it moves by no more than the
    1-norm of their noise, whose 95 % quantile is taken of normal draws by `seed`. The variance of
    a bin's accuracy is that of Agresti & Coull (two right and two wrong samples more), so that a
    model without a mistake has an interval too. Raises ValueError for shapes that disagree, NaN,
    no samples, fewer bins than 1, labels that are no class. Source: Naeini et al. 2015, Guo et al.
    2017 (remembered, not read); the interval is derived.
    """
    if logits.dim() != 2 or labels.shape != logits.shape[:1] or not len(logits):
        raise ValueError(
            f"logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}; (samples, "
            "classes) and a label a sample are needed"
        )
    if bins < 1:
        raise ValueError(f"bins={bins}; at least 1 is needed")
    if bool(logits.isnan().any()):
        raise ValueError("logits hold NaN; numbers are needed")
    own = labels.detach().cpu()
    if own.is_floating_point() or int(own.min()) < 0 or int(own.max()) >= logits.shape[1]:
        raise ValueError(
            f"labels must be class numbers from 0 to {logits.shape[1] - 1}; leave out what is not"
        )
    sure, decided = logits.detach().cpu().double().softmax(1).max(1)
    return _of(sure, (decided == own).double(), bins, mass, seed)


def _of(sure: Tensor, right: Tensor, bins: int, mass: bool, seed: int) -> Calibration:
    count = len(sure)
    if mass:
        order = sure.argsort(stable=True)
        place = torch.empty(count, dtype=torch.int64)
        parts = torch.tensor_split(order, bins)
        for number, part in enumerate(parts):
            place[part] = number
        edges = [(0.0, 0.0)] * bins
        for number, part in enumerate(parts):
            if len(part):
                edges[number] = float(sure[part].min()), float(sure[part].max())
    else:
        place = ((sure * bins).ceil().long() - 1).clamp(0, bins - 1)
        edges = [(number / bins, (number + 1) / bins) for number in range(bins)]

    def sums(values: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.float64).index_add_(0, place, values)

    counts, confidence, correct = sums(torch.ones_like(sure)), sums(sure), sums(right)
    gaps = (confidence - correct) / count
    error = float(gaps.abs().sum())
    # Of one sample: its gap in its bin and 0 in the others.
    share = (correct + 2) / (counts + 4)
    mean = confidence / counts.clamp_min(1)
    spread = (sums(sure**2) / counts.clamp_min(1) - mean**2).clamp_min(0)
    second = counts / count * ((mean - share) ** 2 + share * (1 - share) + spread)
    covariance = torch.diag(second) - torch.outer(gaps, gaps)
    half = _quantile(covariance / count, seed)
    chance = sums(sure * (1 - sure))
    null = float((2 / math.pi * chance).sqrt().sum()) / count
    # All samples as one bin.
    over = float(gaps.sum())
    wide = Z * math.sqrt(max(float(covariance.sum()), 0.0) / count)
    curve = tuple(
        Bin(*edges[b], int(counts[b]), float(mean[b]), float(correct[b] / counts[b]))
        for b in range(bins)
        if counts[b] > 0
    )
    interval = (max(0.0, error - half), min(1.0, error + half))
    return Calibration(error, interval, null, over, (over - wide, over + wide), curve, count)


def _quantile(covariance: Tensor, seed: int) -> float:
    """Of the 1-norm of normal draws with this covariance, 95 %."""
    values, axes = torch.linalg.eigh(covariance)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(DRAWS, len(values), generator=generator, dtype=torch.float64)
    noise = (draws * values.clamp_min(0).sqrt()) @ axes.T
    return float(noise.abs().sum(1).quantile(0.95))


class CalibrationError:
    """A watcher: calibration_error and overconfidence of what the head decides, on every split."""

    def __init__(self, bins: int = BINS, *, mass: bool = False) -> None:
        self.bins, self.mass = bins, mass

    def read(self, view: View) -> Mapping[str, float | None]:
        if view.logits is None:
            return {}
        found = calibration(view.logits, view.labels, bins=self.bins, mass=self.mass)
        return {ECE: found.error, OVERCONFIDENCE: found.overconfidence}
