"""Vocabularies: 150,000 classes in trace mode with sampled pairs, and 50,000 with all pairs."""

from __future__ import annotations

import time

import torch
from ncollapse.metrics.intervals import intervals

from benchmarks.common import Options, Row, cpu, high_water, reset_peak
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.measuring.measure import measure_features
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.readings import applicable, read

CHUNK = 8192
# A tenth of each size unless --full: the shape of the work, not its bars.
LARGE, ALL_PAIRS = (150_000, 1024, 300_000), (50_000, 768, 200_000)
SMALL_LARGE, SMALL_ALL_PAIRS = (15_000, 1024, 60_000), (10_000, 768, 40_000)


def data(K: int, d: int, N: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens with Zipf counts, every class at least once."""
    generator = torch.Generator().manual_seed(0)
    share = 1 / torch.arange(1, K + 1, dtype=torch.float64)
    drawn = torch.multinomial(share, N - K, replacement=True, generator=generator)
    labels = torch.cat([torch.arange(K), drawn])
    labels = labels[torch.randperm(N, generator=generator)]
    weight = torch.randn(K, d, generator=generator)
    features = torch.empty(N, d)
    for start in range(0, N, CHUNK):
        part = labels[start : start + CHUNK]
        noise = torch.randn(part.numel(), d, generator=generator)
        features[start : start + CHUNK] = weight[part] + 0.5 * noise
    return features, labels, weight


def run(options: Options) -> list[Row]:
    rows = sampled(*(LARGE if options.full else SMALL_LARGE), full=options.full)
    return rows + all_pairs(*(ALL_PAIRS if options.full else SMALL_ALL_PAIRS), full=options.full)


def sampled(K: int, d: int, N: int, *, full: bool) -> list[Row]:
    """measure_features in trace mode, every comparator that is left, a million sampled pairs."""
    features, labels, weight = data(K, d, N)
    before = reset_peak()
    began, cpu_began = time.perf_counter(), time.process_time()
    # Decisions read N K d products; they are a benchmark of their own.
    found = measure_features(
        features, labels, weight=weight, decisions=False, pair_budget=2e9 if full else 1e6
    )
    seconds, taken = time.perf_counter() - began, time.process_time() - cpu_began
    memory = (high_water() - before) / 1e9
    readings = found.results["train"]["head"]
    named = f"K={K} d={d} N={N}, sampled pairs"
    cdnv = readings["nc1_cdnv"]
    assert cdnv.value is not None and cdnv.interval is not None
    return [
        Row("vocabulary", f"{named}: wall", seconds, "s"),
        Row("vocabulary", f"{named}: CPU", taken, "CPU-s"),
        Row("vocabulary", f"{named}: above features and head", memory, "GB", 4.0 if full else None),
        Row("vocabulary", f"{named}: nc1_cdnv", cdnv.value, ""),
        Row(
            "vocabulary",
            f"{named}: half-width of its interval",
            (cdnv.interval[1] - cdnv.interval[0]) / 2 / cdnv.value,
            "relative",
        ),
        Row("vocabulary", f"{named}: nc2_maxangle", readings["nc2_maxangle_means"].value or 0, ""),
    ]


def all_pairs(K: int, d: int, N: int, *, full: bool) -> list[Row]:
    """Every pair statistic of means and head from tiles, against a million sampled pairs."""
    features, labels, weight = data(K, d, N)
    moments = ClassMoments(K, d, mode="trace")
    for start in range(0, N, CHUNK):
        part = slice(start, start + CHUNK)
        moments.update(features[part], labels[part])
    del features
    statistics, geometry = moments.statistics(), moments.geometry(weight)
    keys = [k for k in applicable(head=True) if k not in ("nc1_fisher", "nc1_vci")]
    values: dict[str, float | None] = {}

    def tiles() -> None:
        values.update(read(keys, statistics=statistics, geometry=geometry)[0])

    seconds = cpu(tiles)
    del geometry
    drawn = moments.take_geometry(weight).sampled()
    spans: dict[str, tuple[float, float]] = {}

    def sampled() -> None:
        found, _ = read(keys, statistics=statistics, geometry=drawn)
        spans.update(intervals(found, Evidence(statistics, drawn, None, None, 1.2e-7)))

    quick = cpu(sampled)
    outside = sum(not low <= (values[key] or 0.0) <= high for key, (low, high) in spans.items())
    named = f"K={K} d={d}"
    return [
        Row("vocabulary", f"{named}, all pairs", seconds, "CPU-s", 240.0 if full else None),
        Row("vocabulary", f"{named}, the same from sampled pairs", quick, "CPU-s"),
        Row("vocabulary", f"{named}, sampled intervals that miss (of one draw)", outside, "of 6"),
    ]
