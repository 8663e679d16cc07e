"""Readings of language models: 30,000 tokens of 768 features, each against one bare product.

Bars in CPU-seconds are for a machine that makes the Gram product of the means in float64 in about a
second; ratios hold anywhere.
"""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.common import Options, Row, cpu, high_water, reset_peak
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.predictions import Predictions
from ncollapse.collect.statistics.spread import FeatureSpread
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.metrics.catalog import of_task
from ncollapse.metrics.shares import variance_shares
from ncollapse.pairs.sums import TILE

K, D, N = 30_000, 768, 300_000
GRAMS = ("lm_etf", "lm_equiangular", "lm_interference", "lm_interference_spread", "lm_duality")
ALONE = ("lm_cdnv_1", "lm_gnc2_log", "lm_gnc2_riesz", "lm_gnc2_rbf")
VOCABULARY, WIDTH, POSITIONS = 150_000, 512, 200_000
NEAR = 1e-7
CHUNK = 8192
ROWS = of_task("language")


def run(options: Options) -> list[Row]:
    return [*pairs(options), *near(), *whole_vocabulary(options), *floor()]


def made(count: int, width: int) -> tuple[ClassStatistics, Geometry]:
    """Means and head about an offset, with traces."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(count, width, generator=generator, dtype=torch.float64) + 3.0
    weight = torch.randn(count, width, generator=generator, dtype=torch.float64).add_(means)
    traces = torch.rand(count, generator=generator, dtype=torch.float64) + width / 4
    counts = torch.full((count,), 20)
    return ClassStatistics(counts, traces), Geometry(means, weight, counts=counts)


def read(key: str, statistics: ClassStatistics, geometry: Geometry) -> float:
    return float(ROWS[key].evaluate(statistics=statistics, geometry=geometry))


def fresh(geometry: Geometry) -> Geometry:
    """The same means, nothing computed."""
    return Geometry(geometry.means, geometry.weight, counts=geometry.counts)


def pairs(options: Options) -> list[Row]:
    """Gram identities together, each kernel alone, all of one pass, drawn pairs; memory."""
    statistics, geometry = made(K, D)
    means = geometry.means
    assert means is not None
    product = cpu(lambda: means.T @ means)
    narrow = means[: 2 * TILE].float()
    tile = cpu(lambda: [narrow[:TILE] @ narrow[TILE:].T for _ in range(40)]) / 40
    blocks = -(-K // TILE)
    triangle = tile * blocks * (blocks + 1) / 2
    before = reset_peak()
    named = f"K={K} d={D}"

    def grams() -> None:
        own = fresh(geometry)
        for key in GRAMS:
            read(key, statistics, own)

    seconds = cpu(grams)
    rows = [
        Row("language", f"{named}: MᵀM in float64, for scale", product, "CPU-s"),
        Row("language", f"{named}: tiles of MMᵀ in float32, for scale", triangle, "CPU-s"),
        Row("language", f"{named}: all readings by Gram identities", seconds, "CPU-s"),
        Row("language", f"{named}: the same, over three products", seconds / product / 3, "×", 1.5),
    ]
    for key in ALONE if options.full else ALONE[1:2]:
        taken = cpu(partial(read, key, statistics, fresh(geometry)))
        rows.append(Row("language", f"{named}: {key} alone", taken, "CPU-s", 30.0))
    own = fresh(geometry)
    together = [
        key for key, row in ROWS.items() if row.function.split(":")[1] in ("cdnv", "kernel")
    ]
    together += [key for key, row in ROWS.items() if row.function.endswith(":variation")]
    taken = cpu(lambda: [read(key, statistics, own) for key in together])
    rows.append(Row("language", f"{named}: {len(together)} readings of pairs", taken, "CPU-s"))
    rows.append(Row("language", f"{named}: the same over bare tiles", taken / triangle, "×", 3.0))
    drawn = fresh(geometry).sampled()
    few = [key for key in together if ROWS[key].pairs == "sampled"]
    taken = cpu(lambda: [read(key, statistics, drawn) for key in few])
    rows.append(Row("language", f"{named}: {len(few)} of a million drawn pairs", taken, "CPU-s"))
    memory = (high_water() - before) / 1e9
    rows.append(Row("language", f"{named}: memory above means and head", memory, "GB", 1.0))
    return rows


def near() -> list[Row]:
    """Distances of near means, far from the origin, against float64 differences."""
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(5000, D, generator=generator, dtype=torch.float64) + 10
    twins = means[:50] + NEAR * torch.randn(50, D, generator=generator, dtype=torch.float64)
    means[-50:] = twins
    found = Geometry(means).kernel_pairs.inverse[:50]
    exact = torch.zeros(50, dtype=torch.float64)
    for place in range(50):
        square = ((means - means[place]) ** 2).sum(1)
        square[place] = torch.inf
        exact[place] = square.reciprocal().sum()
    worst = float((found / exact - 1).abs().max())
    return [Row("language", "near means (1e-7 of their length): error", worst, "", 1e-6)]


def whole_vocabulary(options: Options) -> list[Row]:
    """Variance shares in one pass, over what the class sums alone cost."""
    V, d = (VOCABULARY, WIDTH) if options.full else (VOCABULARY // 10, WIDTH)
    generator = torch.Generator().manual_seed(2)
    share = 1 / torch.arange(1, V + 1, dtype=torch.float64)
    labels = torch.multinomial(share, POSITIONS, replacement=True, generator=generator)
    features = torch.randn(POSITIONS, d, generator=generator)
    moments, spread = ClassMoments(V, d, mode="trace"), FeatureSpread(d)

    def over(statistic: ClassMoments | FeatureSpread) -> None:
        for start in range(0, POSITIONS, CHUNK):
            statistic.update(features[start : start + CHUNK], labels[start : start + CHUNK])

    sums, totals = cpu(lambda: over(moments)), cpu(lambda: over(spread))
    found: list[float] = []

    def shares() -> None:
        got = variance_shares(
            moments.statistics(), moments.geometry(), torch.arange(V) % 12, spread.result()
        )
        found.extend([*got.corrected.tolist(), got.plug_in[1].item()])

    taken = cpu(shares)
    named = f"V={V} d={d} N={POSITIONS}"
    return [
        Row("language", f"{named}: class sums of one pass", sums, "CPU-s"),
        Row("language", f"{named}: totals per feature beside them", totals / sums, "×", 1.0),
        Row("language", f"{named}: variance shares from the sums", taken, "CPU-s"),
        Row("language", f"{named}: token share of noise, as it stands", found[3], ""),
        Row("language", f"{named}: the same, corrected", abs(found[1]), "", 0.005),
    ]


def floor() -> list[Row]:
    """Predictions of a head in float32, over its bare product."""
    V, d, n = 50_000, D, 4096
    generator = torch.Generator().manual_seed(3)
    weight = 0.02 * torch.randn(V, d, generator=generator)
    features = torch.randn(n, d, generator=generator)
    labels = torch.randint(0, V, (n,), generator=generator)
    product = cpu(lambda: features @ weight.T)
    sums = Predictions(weight)
    sums.update(features[:64], labels[:64])
    ratio = cpu(lambda: sums.update(features, labels)) / product
    return [Row("language", f"V={V} d={d}: information over the head's product", ratio, "×", 3.0)]
