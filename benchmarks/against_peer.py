"""NC1 to NC3 of the same arrays by the public peer and by us, at 10, 1,000 and 30,000 classes.

The peer: class means in a first pass, scatter and variances in a second, then NC1 by
pseudo-inverse, CDNV, distance to the simplex and self-duality. We: one pass and every reading of
NC1 to NC3, some twenty. At 30,000 classes the peer's passes are timed on `BATCHES` of its batches
and what grows as K² on `ROWS` classes; both are scaled up, without the memory that the whole would
need. That is said in the row.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks import many_classes
from benchmarks.common import Options, Row, interleaved, median_ratio, wall
from benchmarks.peer import BATCH, Peer
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.metrics.readings import applicable, read

Arrays = tuple[Tensor, Tensor, Tensor]
# K: rows N, width d, rounds, and the bar on ours over the peer's.
CASES = {10: (60_000, 512, 5, 1 / 3), 1000: (60_000, 512, 3, 1 / 10)}
LARGEST_BAR = 1 / 50
CHUNK = 8192
BATCHES, ROWS, TILE = 8, 2048, 256


def run(options: Options) -> list[Row]:
    if options.peer is None:
        return []
    peer = Peer(options.peer)
    rows = []
    for K, (N, d, rounds, bar) in CASES.items():
        features, labels, weight = arrays(N, d, K)

        def theirs(
            tile: int | None = None, arrays: Arrays = (features, labels, weight), K: int = K
        ) -> None:
            features, labels, weight = arrays
            centres = peer.means(features, labels, K)
            scatter, spread = peer.second_pass(features, labels, centres)
            peer.pseudo_inverse(scatter, centres)
            peer.of_pairs(centres, spread, weight, tile)

        def ours(arrays: Arrays = (features, labels, weight), K: int = K) -> None:
            everything(*arrays, K)

        work = {"theirs": theirs, "tiled": partial(theirs, TILE), "ours": ours}
        times = interleaved(work, repeats=rounds)
        ratio = median_ratio(times["theirs"], times["ours"])
        rows.append(Row("peer", f"K = {K}: peer / ours", ratio, "×"))
        rows.append(Row("peer", f"K = {K}: ours / peer", 1 / ratio, "", bar))
        tiled = median_ratio(times["tiled"], times["ours"])
        rows.append(Row("peer", f"K = {K}: peer, pairs in tiles / ours", tiled, "×"))
    return rows + largest(peer)


def arrays(N: int, d: int, K: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, K, (N,), generator=generator)
    means = torch.randn(K, d, generator=generator)
    features = torch.randn(N, d, generator=generator) + means[labels]
    return features, labels, means + torch.randn(K, d, generator=generator)


def everything(features: Tensor, labels: Tensor, weight: Tensor, K: int) -> dict[str, float | None]:
    """One pass and all readings of NC1 to NC3."""
    counts = torch.bincount(labels, minlength=K)
    moments = ClassMoments(K, features.shape[1], counts=counts)
    for start in range(0, len(labels), CHUNK):
        part = slice(start, start + CHUNK)
        moments.update(features[part], labels[part])
    keys = applicable(head=True)
    statistics, geometry = moments.statistics(), moments.geometry(weight)
    return read(keys, statistics=statistics, geometry=geometry)[0]


def largest(peer: Peer) -> list[Row]:
    """30,000 classes: ours whole, the peer's in parts."""
    features, labels, weight = many_classes.data()
    K, N = many_classes.K, many_classes.N
    mine = wall(lambda: everything(features, labels, weight, K))
    few, which = features[: BATCHES * BATCH], labels[: BATCHES * BATCH]
    share = N / len(which)
    centres = peer.means(few[:BATCH], which[:BATCH], K)
    first = share * wall(lambda: peer.means(few, which, K))
    second = share * wall(lambda: peer.second_pass(few, which, centres))
    part = torch.randn(ROWS, features.shape[1], generator=torch.Generator().manual_seed(0))
    grown = (K / ROWS) ** 2
    pairs = grown * wall(lambda: peer.of_pairs(part, part.square().sum(1), weight[:ROWS], TILE))
    theirs = first + second + pairs
    said = f"K = {K}"
    return [
        Row("peer", f"{said}: ours, whole", mine, "s"),
        Row("peer", f"{said}: peer, first pass, scaled up", first, "s"),
        Row("peer", f"{said}: peer, second pass, scaled up", second, "s"),
        Row("peer", f"{said}: peer, pairs of classes, scaled up", pairs, "s"),
        Row("peer", f"{said}: peer / ours", theirs / mine, "×"),
        Row("peer", f"{said}: ours / peer", mine / theirs, "", LARGEST_BAR),
    ]
