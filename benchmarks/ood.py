"""Detectors fitted to features that stream by: seconds a sample, memory flat in N."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.common import Options, Row, high_water, reset_peak
from ncollapse.downstream import ood
from ncollapse.sources.features.arrays import FeatureSource

IMAGENET = 1_281_167
# Rows of which each block repeats: drawing would cost more than fitting.
POOL = 8192


class Streamed(FeatureSource):
    """N rows of K classes in d dimensions that are never there at once."""

    def __init__(self, number: int, width: int, classes: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.num_samples, self.num_features, self.dtype = number, width, torch.float32
        labels = torch.randint(0, classes, (POOL,), generator=generator)
        means = torch.randn((classes, width), generator=generator)
        self._pool = means[labels] + 0.3 * torch.randn((POOL, width), generator=generator)
        self._set_labels(labels.repeat(-(-number // POOL))[:number])
        self._set_head(torch.randn((classes, width), generator=generator), torch.zeros(classes))

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        for place in range(start, self.num_samples, size):
            count = min(size, self.num_samples - place)
            yield self._pool[torch.arange(place, place + count) % POOL]


def fit(number: int, width: int, classes: int) -> tuple[float, float]:
    """CPU seconds and the gigabytes that fitting took at most."""
    source = Streamed(number, width, classes)
    before, began = reset_peak(), time.process_time()
    reference = ood.Reference(source)
    for kind in ood.DETECTORS:
        if kind is not ood.KNN:
            kind().fit_reference(reference)
    return time.process_time() - began, (high_water() - before) / 1e9


def run(options: Options) -> list[Row]:
    """All detectors but KNN at two sizes; ImageNet's training set is what these extrapolate to."""
    width, classes = 2048, 1000
    small, large = (32_768, 131_072) if options.full else (8_192, 32_768)
    first, memory = fit(small, width, classes)
    second, more = fit(large, width, classes)
    each = (second - first) / (large - small)
    whole = second + each * (IMAGENET - large)
    named = f"d={width} K={classes}"
    return [
        Row("ood", f"{named} N={large}: CPU", second, "CPU-s"),
        Row("ood", f"{named}: CPU a thousand samples", 1000 * each, "CPU-s"),
        Row("ood", f"{named} N={IMAGENET}: CPU, extrapolated and not run", whole, "CPU-s"),
        Row("ood", f"{named} N={large}: memory", more, "GB", 2.0),
        Row("ood", f"{named}: memory of N={large} over that of N={small}", more / memory, "", 1.2),
    ]
