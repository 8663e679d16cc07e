"""Readings with nulls, intervals and decisions at the widths that people have.

The floor is the bare product XᵀX in float32 and one read of X: no second moments come cheaper. CPU
seconds, measured in turn with the floor. Features have a spectrum 1/i within and between classes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor

import ncollapse as nc
from benchmarks.common import Options, Row, cpu, interleaved, median_ratio
from benchmarks.peer import Peer

# (classes, features, samples, bar as a multiple of the floor, seconds added to the bar)
CASES = (
    (10, 2048, 5_000, 4.0, 1.0),
    (100, 2048, 20_000, 4.0, 1.0),
    (1000, 2048, 50_000, 4.0, 0.0),
    (1000, 768, 100_000, 4.0, 0.0),
    (10, 512, 60_000, 2.5, 0.0),
)
PARTS = ("null", "intervals", "decisions")
ROUNDS = 3


def data(K: int, d: int, N: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = (1 + torch.arange(d)) ** -0.5
    means = 1.5 * torch.randn(K, d, generator=generator) * size + 0.3
    labels = torch.arange(N) % K
    features = means[labels] + torch.randn(N, d, generator=generator) * size
    centred = means - means.mean(0)
    weight = centred + 0.3 * centred.std() * torch.randn(K, d, generator=generator)
    return features, labels, weight


def run(options: Options) -> list[Row]:
    rows = []
    peer = None if options.peer is None else Peer(options.peer)
    for K, d, N, bar, more in CASES:
        features, labels, weight = data(K, d, N)

        def floor(features: Tensor = features) -> None:
            features.T @ features
            features.sum()

        def reading(kept: tuple[str, ...], given: tuple[Tensor, ...]) -> Callable[[], object]:
            wanted = {part: part in kept for part in PARTS}
            return lambda: nc.measure_features(given[0], given[1], weight=given[2], **wanted)

        given = (features, labels, weight)
        steps: dict[str, Callable[[], object]] = {"floor": floor}
        names = ("readings", "with nulls", "with intervals", "all")
        for number, name in enumerate(names):
            steps[name] = reading(PARTS[:number], given)
        if peer is not None and K <= 100:
            steps["the peer's NC1 alone"] = lambda given=given, K=K: peer.nc1(*given[:2], K)
        seconds = interleaved(steps, ROUNDS, cpu)
        base = seconds.pop("floor")
        for name, found in seconds.items():
            limit = bar + more / statistics.median(base) if name == "all" else None
            what = f"K {K}, d {d}, N {N // 1000}k: {name}"
            rows.append(Row("real_widths", what, median_ratio(found, base), "x", limit))
    features, labels, weight = data(4, 4096, 24)
    seconds = cpu(lambda: nc.measure_features(features, labels, weight=weight))
    rows.append(Row("real_widths", "K 4, d 4096, N 24: all", seconds, "s", 2.0))
    return rows
