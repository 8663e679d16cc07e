"""NC1 of statistics that few samples stand behind: chance taken out, or no value and the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.collect.statistics.unbiased import (
    NoisyMeans,
    UnresolvedError,
    cdnv,
    check_share,
    directions,
    fisher,
    unbiased_square,
    vci,
)
from ncollapse.geometry import Geometry

# A class of fewer effective samples borrows the pooled spread.
OWN_SPREAD = 1.5


def noisy_means(statistics: ClassStatistics, geometry: Geometry) -> NoisyMeans:
    """Class means with their noise s_c/n_c, in micro weighting: p_c = n_c/N, Σ_W with N - K.

    Counts may be effective sample sizes. Raises UnresolvedError for N ≤ K.
    """
    n, means = statistics.counts.to(torch.float64), geometry.means
    assert means is not None
    whole, freedom = float(n.sum()), float(n.sum()) - n.numel()
    if not freedom > 0:
        raise UnresolvedError(
            f"NC1 cannot be read from {whole:.1f} samples of {n.numel()} classes; more than one a "
            "class are needed"
        )
    pooled = (n * statistics.traces).sum() / freedom
    spreads = torch.where(
        n > OWN_SPREAD, statistics.traces * n / (n - 1).clamp_min(OWN_SPREAD - 1), pooled
    )
    within = None if statistics.micro is None else statistics.micro * (whole / freedom)
    square = None if within is None else unbiased_square(within, freedom)
    return NoisyMeans(means, spreads / n, spreads, n / whole, freedom, square, within)


def _sums(noisy: NoisyMeans) -> tuple[float, float]:
    return float((noisy.shares * noisy.spreads).sum()), noisy.between()


def class_share(noisy: NoisyMeans) -> float:
    """tr Σ_B/(tr Σ_B + tr Σ_W), each unbiased; below 0 where chance would bring more."""
    within, between = _sums(noisy)
    return between / (within + between)


def ratio(noisy: NoisyMeans) -> float:
    """nc1_ratio: tr Σ_W/tr Σ_B, each unbiased. Raises UnresolvedError unless the share that classes
    explain is four standard errors above 0."""
    within, between = _sums(noisy)
    nu, K = noisy.freedom, noisy.num_classes
    effective = directions(within, noisy.square)
    check_share("nc1_ratio", class_share(noisy), nu, nu + K - 1, effective)
    return within / between


UNBIASED: dict[str, Callable[[NoisyMeans], float]] = {
    "class_share": class_share,
    "nc1_ratio": ratio,
    "fisher_ratio": lambda noisy: 1 / ratio(noisy),
    "nc1_cdnv": cdnv,
    "nc1_fisher": fisher,
    "nc1_vci": vci,
}


def unbiased_nc1(
    keys: Iterable[str], statistics: ClassStatistics, geometry: Geometry
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Values of those keys that are NC1, None where the samples cannot say, and why, by key."""
    values: dict[str, float | None] = {}
    refused: dict[str, str] = {}
    for key in keys:
        if key not in UNBIASED:
            continue
        try:
            value = UNBIASED[key](noisy_means(statistics, geometry))
        except UnresolvedError as error:
            values[key], refused[key] = None, str(error)
            continue
        except ZeroDivisionError:
            value = float("nan")
        values[key] = value if value - value == 0 else None
        if values[key] is None:
            refused[key] = f"{key} is null: nothing varies within classes, or nothing between them"
    return values, refused
