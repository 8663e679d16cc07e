"""Standard errors from influences: what each sample adds to a reading, to first order.

With class counts fixed, θ a function of means μ_c, spreads s_c and Σ_W = Σ p_c Σ_c, and z a sample
about its class mean:

    n_c u = ⟨∂θ/∂μ_c, z⟩ + ∂θ/∂v_c (‖z‖² - v_c) + p_c (zᵀ Γ z - class mean),   Γ = ∂θ/∂Σ_W
    se²   = Σ_c n_c/(n_c - 1) Σ u²

Γ is V X Vᵀ with r columns, so a look at the samples is 2 N d r. se² is a mean, so some thousand
samples of all serve. Source: the infinitesimal jackknife (Jaeckel 1972), derived for these rows.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.metrics.metric import Metric
from ncollapse.metrics.pencil import Quadratic
from ncollapse.metrics.population.sample import Sample

# What does not depend on whether derivatives are taken.
SHARED = ("between_factor", "white", "top", "trace_square")


def standard_error(row: Metric, sample: Sample, residuals: Residuals) -> tuple[Tensor, float]:
    """θ (its logarithm for a row of that scale) and its standard error. Raises `CannotTellError`
    where θ has no value."""
    means = sample.means.detach().clone().requires_grad_()
    spreads = sample.spreads.detach().clone().requires_grad_()
    record: list[Quadratic] = []
    contrasts = sample.num_classes - 1
    dense: Tensor | None = None
    if (
        sample.scatter is not None
        and sample.between_factor.rank < contrasts
        and sample.white.rank < contrasts
    ):
        # Fewer directions than contrasts: Γ fills them all.
        dense = sample.scatter.detach().clone().requires_grad_()
    own = replace(
        sample,
        means=means,
        spreads=spreads,
        record=record,
        scatter=sample.scatter if dense is None else dense,
    )
    own.__dict__.update({k: v for k, v in sample.__dict__.items() if k in SHARED})
    value = row.population(own)
    target = value.log() if row.scale == "log" and float(value.detach()) > 0 else value
    if not target.requires_grad:
        return value.detach(), 0.0
    target.backward()
    if dense is not None and dense.grad is not None:
        grad = (dense.grad + dense.grad.T) / 2 / sample.stretch
        record.append(Quadratic(torch.eye(len(grad), dtype=torch.float64), grad))
    influences = _influences(sample, residuals, means.grad, spreads.grad, record)
    error = error_of(influences, residuals)
    if any(part.inverse for part in record):
        # Samples have leverage on the inverse of their own scatter: found by simulation, right
        # within 6 % up to d/N = 0.56 [empirical].
        error /= (1 - sample.white.rank / sample.freedom) ** 0.5
    return value.detach(), error


def _influences(
    sample: Sample,
    residuals: Residuals,
    to_means: Tensor | None,
    to_spreads: Tensor | None,
    record: list[Quadratic],
) -> Tensor:
    rows, labels = residuals.result()
    place = residuals.places(labels)
    counts, K = sample.counts, sample.num_classes
    # Scales keep float32 away from its ends, at NC1 = 1e-12 too.
    size = float((sample.weights * sample.spreads).sum() / rows.shape[1]) ** 0.5 or 1.0
    found = torch.zeros(len(labels), dtype=torch.float64)
    linear = _scaled(to_means, rows.dtype)
    factors = [(_scaled(q.V, rows.dtype), _scaled(q.X, rows.dtype)) for q in record]
    number = torch.bincount(place, minlength=K)
    ends = number.cumsum(0).tolist()
    for start in range(0, len(labels), 1024):
        part = slice(start, start + 1024)
        z, c = rows[part] / size, place[part]
        if linear is not None:
            top, matrix = linear
            found[part] += _by_class(z, c, matrix, ends, start) * (top * size)
        if to_spreads is not None:
            square = torch.linalg.vector_norm(z, dim=1, dtype=torch.float64) ** 2 * size**2
            n = counts[c]
            biased = (n - 1).clamp_min(1) / n * sample.spreads[c]
            found[part] += to_spreads[c] * n / (n - 1).clamp_min(1) * (square - biased)
    for V, X in factors:
        if V is None or X is None:
            continue
        quadratic = torch.empty(len(labels), dtype=torch.float64)
        for start in range(0, len(labels), 1024):
            part = slice(start, start + 1024)
            t = (rows[part] / size) @ V[1]
            quadratic[part] = ((t @ X[1]) * t).sum(1, dtype=torch.float64)
        quadratic *= (V[0] * size) ** 2 * X[0]
        mean = torch.zeros(K, dtype=torch.float64).index_add_(0, place, quadratic)
        mean /= number.clamp_min(1)
        found += sample.weights[place] * (quadratic - mean[place])
    return found / counts[place]


def _scaled(matrix: Tensor | None, dtype: torch.dtype) -> tuple[float, Tensor] | None:
    """(largest entry, the matrix over it): None where it is zero."""
    top = 0.0 if matrix is None else float(matrix.abs().max())
    return None if matrix is None or top == 0 else (top, (matrix / top).to(dtype))


def _by_class(z: Tensor, c: Tensor, matrix: Tensor, ends: list[int], start: int) -> Tensor:
    """⟨row of the class, z⟩; samples are sorted by class, so long runs are one product each."""
    first, last = int(c[0]), int(c[-1])
    if last - first < len(c) // 8:
        found = torch.empty(len(c), dtype=torch.float64)
        low = 0
        for k in range(first, last + 1):
            high = min(ends[k] - start, len(c))
            if high > low:
                found[low:high] = (z[low:high] @ matrix[k]).to(torch.float64)
                low = high
        return found
    return (z * matrix[c]).sum(1, dtype=torch.float64)


def error_of(influences: Tensor, residuals: Residuals) -> float:
    """√ of Σ_c n_c/(n_c - 1) Σ u², where some of the samples of a class stand for all."""
    counts = residuals.counts.to(torch.float64)
    labels = residuals.labels
    kept = torch.bincount(labels, minlength=counts.numel()).to(torch.float64)
    sums = torch.zeros_like(counts).index_add_(0, labels, influences)
    gap = influences - (sums / kept.clamp_min(1))[labels]
    square = torch.zeros_like(counts).index_add_(0, labels, gap**2)
    return float((counts / (kept - 1).clamp_min(1) * square).sum().sqrt())
