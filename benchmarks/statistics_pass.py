"""Full class statistics against a bare product and one read of the features."""

from __future__ import annotations

import torch

from benchmarks.common import Options, Row, interleaved, median_ratio
from ncollapse.collect.statistics.classes import ClassMoments

N, D, K = 60_000, 512, 10


def run(options: Options) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, K, (N,), generator=generator)
    features = (
        torch.randn(N, D, generator=generator) + torch.randn(K, D, generator=generator)[labels]
    )

    def whole() -> None:
        moments = ClassMoments(K, D)
        moments.update(features, labels)
        moments.statistics()

    def chunked(rows: int) -> None:
        moments = ClassMoments(K, D)
        for start in range(0, N, rows):
            moments.update(features[start : start + rows], labels[start : start + rows])
        moments.statistics()

    work = {
        "product": lambda: features.T @ features,
        "read": lambda: features.sum(),
        "one call": whole,
        "chunks of 4,096": lambda: chunked(4096),
        "chunks of 8,192": lambda: chunked(8192),
        "batches of 256": lambda: chunked(256),
    }
    if options.peer is not None:
        from benchmarks.peer import Peer

        peer = Peer(options.peer)
        work["peer, two passes"] = lambda: peer.statistics(features, labels, K)
    times = interleaved(work)
    floor = times["product"], times["read"]
    rows = []
    for name in work:
        if name in ("product", "read"):
            continue
        bar = 2.0 if name in ("one call", "chunks of 4,096", "chunks of 8,192") else None
        ratio = median_ratio(times[name], *floor)
        rows.append(Row("statistics", f"{name} / (product + read)", ratio, "×", bar))
    if options.peer is not None:
        gain = median_ratio(times["peer, two passes"], times["chunks of 4,096"])
        rows.append(Row("statistics", "peer / ours", gain, "×"))
    return rows
