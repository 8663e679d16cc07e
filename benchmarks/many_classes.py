"""30,000 classes with Zipf counts: every metric, its time and its memory."""

from __future__ import annotations

import torch

from benchmarks.common import Options, Row, cpu, high_water, interleaved, median_ratio, reset_peak
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.metrics.nc2 import simplex_floor
from ncollapse.metrics.readings import applicable, read

N, D, K = 200_000, 768, 30_000
CHUNK = 8192
DECIDED = 16_384


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    share = 1 / torch.arange(1, K + 1, dtype=torch.float64)
    drawn = torch.multinomial(share, N - K, replacement=True, generator=generator)
    labels = torch.cat([torch.arange(K), drawn])
    labels = labels[torch.randperm(N, generator=generator)]
    means = torch.randn(K, D, generator=generator)
    features = torch.randn(N, D, generator=generator).mul_(0.5)
    for start in range(0, N, CHUNK):
        features[start : start + CHUNK] += means[labels[start : start + CHUNK]]
    weight = means + torch.randn(K, D, generator=generator)
    return features, labels, weight


def run(options: Options) -> list[Row]:
    features, labels, weight = data()
    before = reset_peak()
    moments = ClassMoments(K, D, counts=torch.bincount(labels, minlength=K))

    def collect() -> None:
        for start in range(0, N, CHUNK):
            part = slice(start, start + CHUNK)
            moments.update(features[part], labels[part])

    rows = []
    total = cpu(collect)
    rows.append(Row("many_classes", "one pass over the features", total, "CPU-s"))
    values: dict[str, float | None] = {}

    def metrics() -> None:
        statistics, geometry = moments.statistics(), moments.geometry(weight)
        values.update(read(applicable(head=True), statistics=statistics, geometry=geometry)[0])

    seconds = cpu(metrics)
    rows.append(Row("many_classes", "all NC1-NC3 metrics", seconds, "CPU-s"))
    rows.append(Row("many_classes", "NC1-NC3 with the pass", total + seconds, "CPU-s", 90.0))
    missing = sum(value is None for value in values.values())
    rows.append(Row("many_classes", "metrics not finished", missing, "", 0))
    floor = simplex_floor(K, D)
    rows.append(Row("many_classes", "nc2_etf_means", values["nc2_etf_means"] or 0.0, ""))
    below = max(0.0, floor - (values["nc2_etf_means"] or 0.0))
    rows.append(Row("many_classes", "nc2_etf_means below its floor by", below, "", 0.0))
    rows += decisions(features, labels, weight, moments, options)
    rows.append(
        Row("many_classes", "memory above features", (high_water() - before) / 1e9, "GB", 2.0)
    )
    return rows


def decisions(
    features: torch.Tensor,
    labels: torch.Tensor,
    weight: torch.Tensor,
    moments: ClassMoments,
    options: Options,
) -> list[Row]:
    """NC4 against its two products (logits with bias, distances), in the same slices."""
    number = N if options.full else DECIDED
    means = moments.means
    bias = torch.zeros(K)
    counter = Decisions(means, torch.arange(K), K, weight, bias)
    centres = means.float()
    size = (1 << 24) // K

    def bare() -> None:
        for start in range(0, number, size):
            part = features[start : start + size]
            part @ weight.T
            part @ centres.T

    def ours() -> None:
        counter.update(features[:number], labels[:number])

    times = interleaved({"bare": bare, "ours": ours}, repeats=1 if options.full else 5)
    ratio = median_ratio(times["ours"], times["bare"])
    return [Row("many_classes", f"NC4 of {number} samples / two products", ratio, "×", 1.5)]
