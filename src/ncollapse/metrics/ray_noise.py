"""Comparators of the rows that read directions and lengths: influences and shuffled labels.

With r_k = mean u/R_k a sample of class k adds (½ ‖u - r_k‖² - (1 - R_k))/(K n_k) to `dir_spread`,
and with x = ‖h‖, mean m and deviation σ, ((x - m)² - σ²)/(2σ m) - σ (x - m)/m² over K n_k to
`norm_cv`. Bias: 1 - R² and σ² grow by n/(n-1); √ of a variance by 1 + 1/(4(n-1)), as for normal
lengths [approximation]. Derived.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ncollapse.collect.statistics.directions import Rays
from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.metrics.directional import shortfall
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.influence import error_of

DIRECTIONS, LENGTHS = "dir_spread", "norm_cv"
# Numbers of a batch of draws.
TOGETHER = 2e6


def population(key: str, rays: Rays) -> float:
    """The value without the bias of few samples; a class of one sample borrows from the others."""
    n = (rays.counts + rays.zeros).to(torch.float64)
    directed = rays.counts.to(torch.float64)
    free = (n - 1).clamp_min(1)
    if key == DIRECTIONS:
        others = (directed - 1).clamp_min(1)
        pooled = (directed * rays.gaps).sum() / (directed - 1).sum().clamp_min(1)
        gaps = torch.where(directed > 1, rays.gaps * directed / others, pooled)
        return float(shortfall(gaps.clamp_max(1)).mean())
    share = (rays.variances * n / free).sqrt() / rays.lengths * (1 + 1 / (4 * free))
    return float(share[n > 1].mean()) if bool((n > 1).any()) else float("nan")


def error(key: str, evidence: Evidence) -> float:
    """The standard error of `population`, from the samples that were kept."""
    rays, residuals = evidence.rays, evidence.residuals
    assert rays is not None and residuals is not None
    place, length, unit = _samples(evidence, residuals)
    n = (rays.counts + rays.zeros).to(torch.float64)[place]
    K = len(rays.counts)
    if key == DIRECTIONS:
        axes = torch.nn.functional.normalize(rays.axes, dim=1, eps=1e-300)
        gap = ((unit - axes[place]) ** 2).sum(1) / 2 - shortfall(rays.gaps)[place]
        found = torch.where(length > 0, gap / rays.counts[place], 0) / K
    else:
        m, sigma = rays.lengths[place], rays.variances.sqrt()[place]
        gap = length - m
        slope = torch.where(sigma > 0, (gap**2 - sigma**2) / (2 * sigma * m), 0)
        found = (slope - sigma * gap / m**2) / (K * n)
    return error_of(found, residuals)


def shuffled(
    keys: Sequence[str], evidence: Evidence, number: int, generator: torch.Generator
) -> dict[str, list[float]]:
    """Values under shuffled labels, counts kept, from the samples that were kept: where those are
    some, how far means lie from that of all is scaled to the counts of all."""
    rays, residuals = evidence.rays, evidence.residuals
    assert rays is not None and residuals is not None
    place, length, unit = _samples(evidence, residuals)
    K, held = len(rays.counts), len(length)
    kept = torch.bincount(place, minlength=K).to(torch.float64)
    n = (rays.counts + rays.zeros).to(torch.float64)
    every = float(n.sum())
    # Variances of means of n of N, and of the kept ones, without replacement.
    scale = torch.where(kept < n, (1 / n - 1 / every) / (1 / kept - 1 / held), 1.0)
    stretch = (held / every) ** 0.5
    has = (length > 0).to(torch.float64)
    lengths, about = length - length.mean(), length.mean()
    columns = torch.stack([has, lengths, lengths**2], 1)
    middle = unit.sum(0) / has.sum().clamp_min(1)
    apart = (unit - middle) * has[:, None]
    columns = torch.cat([columns, (apart**2).sum(1, keepdim=True)], 1)
    rows, total = apart.to(residuals.rows.dtype), columns[:, 3].sum() / has.sum().clamp_min(1)
    found: dict[str, list[float]] = {key: [] for key in keys}
    size = max(1, int(TOGETHER // (K * held)))
    for start in range(0, number, size):
        some = min(size, number - start)
        dealt = torch.zeros(some, K, held, dtype=rows.dtype)
        for draw in dealt:
            order = torch.randperm(held, generator=generator)
            draw[place, order] = 1.0
        sums = (dealt.to(torch.float64) @ columns) / kept[:, None]
        if DIRECTIONS in found:
            there = (sums[..., 0] * kept).clamp_min(1)
            shift = (dealt @ rows).to(torch.float64) / there[..., None]
            own = torch.where(kept < n, total, sums[..., 3] * kept / there)
            gaps = (own - (shift**2).sum(-1) * scale).clamp(0, 1)
            found[DIRECTIONS] += shortfall(gaps).mean(-1).tolist()
        if LENGTHS in found:
            variance = (sums[..., 2] - sums[..., 1] ** 2).clamp_min(0)
            bias = (1 - 1 / n) / (1 - 1 / kept).clamp_min(1e-9)
            bias = torch.where(kept < n, bias, 1.0)
            mean = about + sums[..., 1]
            share = torch.where(mean > 0, (variance * bias).sqrt() / mean, 0)
            found[LENGTHS] += share.mean(-1).tolist()
    if LENGTHS in found and stretch < 1:
        draws = torch.tensor(found[LENGTHS], dtype=torch.float64)
        found[LENGTHS] = (draws.mean() + (draws - draws.mean()) * stretch).tolist()
    return found


def _samples(evidence: Evidence, residuals: Residuals) -> tuple[Tensor, Tensor, Tensor]:
    """(place of the class, length, unit vector) of the samples that were kept; formed once."""
    known: tuple[Tensor, Tensor, Tensor] | None = evidence.__dict__.get("_of_rays")
    if known is not None:
        return known
    assert evidence.geometry is not None
    rows, labels = residuals.result()
    place = residuals.places(labels)
    features = evidence.geometry.raw_rows.matrix[place] + rows.to(torch.float64)
    length = torch.linalg.vector_norm(features, dim=1)
    # What the sum of mean and residual leaves of a sample that was zero.
    size = evidence.geometry.raw_rows.norms[place]
    length = torch.where(length <= 4 * torch.finfo(rows.dtype).eps * size, 0.0, length)
    unit = features / torch.where(length > 0, length, torch.inf)[:, None]
    evidence.__dict__["_of_rays"] = place, length, unit
    return place, length, unit
