"""Linear algebra that stays right when features collapse.

Three habits keep the numbers honest: norms are taken in float64 (a float32 Frobenius norm on a
CPU drifts by per cents on large matrices), pseudo-inverses go through the thin SVD of the factor
and never through its Gram matrix (the condition number is not squared), and the rank is fixed by
construction instead of by a hidden tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# Singular values below this share of the largest (times the longer side) are zero in float64.
EPSILON = torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Right singular pairs of a factor A, so that AᵀA = V diag(s²) Vᵀ.

    `rank` pairs are kept: at most the rank that the construction allows, less those whose
    singular value falls below `cutoff`. `condition` is the smallest kept value over the largest.
    """

    values: Float[Tensor, " rank"]
    vectors: Float[Tensor, "dim rank"]
    cutoff: float

    @property
    def rank(self) -> int:
        return int(self.values.numel())

    @property
    def condition(self) -> float:
        return float(self.values[-1] / self.values[0]) if self.rank else 0.0


def spectrum(factor: Float[Tensor, "rows dim"], rank: int) -> Spectrum:
    """Thin SVD of `factor` with an explicit rank; QR first where it is tall.

    `rank` is what the construction allows (min(d, K - 1) for K centred class means). Values that
    float64 cannot tell from zero are cut as well: two classes with one mean lose a direction.
    """
    work = factor.detach().to(torch.float64)
    if work.shape[0] > work.shape[1]:
        work = torch.linalg.qr(work, mode="r").R
    _, values, rows = torch.linalg.svd(work, full_matrices=False)
    cutoff = float(values[0]) * EPSILON * max(factor.shape) if values.numel() else 0.0
    keep = min(rank, int((values > cutoff).sum()))
    return Spectrum(values[:keep], rows[:keep].T, cutoff)


class _TraceThroughPinv(torch.autograd.Function):
    """f(A, S) = tr(S (AᵀA)⁺) with the derivative at constant rank.

    Differentiating an SVD divides by differences of singular values, which are all zero exactly
    at a simplex frame; the derivative of a pseudo-inverse of constant rank has no such term.
    """

    @staticmethod
    def forward(ctx: Any, factor: Tensor, scatter: Tensor, spec: Spectrum) -> Tensor:
        ctx.save_for_backward(factor, scatter, spec.values, spec.vectors)
        whitened = spec.vectors / spec.values
        # Each term is v'Sv/s² with S positive semi-definite: rounding alone could push one below 0.
        return ((scatter @ whitened) * whitened).sum(0).clamp_min(0).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (grad,) = grads
        factor, scatter, values, vectors = ctx.saved_tensors
        pinv = (vectors / values**2) @ vectors.T
        pinv_squared = (vectors / values**4) @ vectors.T
        symmetric = (scatter + scatter.T) / 2
        outside = symmetric - symmetric @ vectors @ vectors.T
        inner = -pinv @ symmetric @ pinv + pinv_squared @ outside
        return grad * 2 * factor @ inner, grad * pinv, None


def trace_through_pinv(
    factor: Float[Tensor, "rows dim"], scatter: Float[Tensor, "dim dim"], spec: Spectrum
) -> Float[Tensor, ""]:
    """tr(S (AᵀA)⁺) ≥ 0 for positive semi-definite S, differentiable in A and S.

    `spec` is the spectrum of A at the rank that AᵀA has by construction. Raises ValueError when A
    is zero.
    """
    if not bool((factor != 0).any()):
        raise ValueError(
            "the class means coincide, so the between-class scatter is zero and has no "
            "pseudo-inverse; at least two different class means are needed"
        )
    result: Tensor = _TraceThroughPinv.apply(factor, scatter, spec)  # type: ignore[no-untyped-call]
    return result


class _UnexplainedShare(torch.autograd.Function):
    """f(A, S) = 1 - tr((S + AᵀA)⁺ AᵀA)/rank(A) without the cancellation at S → 0.

    In a basis of the range of A, tr((S + B)⁺B) = tr((B + R)⁻¹ B), where R is the part of S in
    that range left after regression on its complement; hence 1 - … = tr(R (B + R)⁻¹)/r.
    """

    @staticmethod
    def forward(
        ctx: Any, factor: Tensor, scatter: Tensor, spec: Spectrum, resolution: float
    ) -> Tensor:
        inside = spec.vectors
        residual = inside.T @ scatter @ inside
        if spec.rank < inside.shape[0]:
            full, _ = torch.linalg.qr(inside, mode="complete")
            outside = full[:, spec.rank :]
            cross = outside.T @ scatter @ inside
            noise = outside.T @ scatter @ outside
            residual = residual - cross.T @ _solve_psd(noise, cross, resolution)
        residual = _nearest_psd(residual)
        between = torch.diag(spec.values**2)
        ctx.save_for_backward(factor, scatter)
        ctx.rank = spec.rank
        ctx.resolution = resolution
        solved = torch.linalg.solve(between + residual, residual)
        return solved.diagonal().sum().clamp(0, spec.rank) / spec.rank

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (grad,) = grads
        factor, scatter = ctx.saved_tensors
        between = factor.T @ factor
        total = between + scatter
        inverse = torch.linalg.pinv(total, hermitian=True, rtol=EPSILON * total.shape[0])
        to_scatter = inverse @ between @ inverse
        # d tr(T⁺B) = tr(T⁺ dB) - tr(T⁺BT⁺ dT), and T⁺ - T⁺BT⁺ = T⁺ST⁺ without cancellation.
        to_between = inverse @ scatter @ inverse
        scale = grad / ctx.rank
        return -scale * 2 * factor @ to_between, scale * to_scatter, None, None


def _solve_psd(matrix: Tensor, right: Tensor, resolution: float) -> Tensor:
    """matrix⁺ right, by Cholesky where no eigenvalue lies near the cutoff, else by eigenvectors.

    Power iterations on the inverse estimate the smallest eigenvalue; a hundredfold margin covers
    what they miss. Cholesky costs a tenth of the eigenvectors.
    """
    cutoff = resolution * matrix.shape[0]
    lower, failed = torch.linalg.cholesky_ex(matrix)
    if not int(failed):
        probe = torch.cos(torch.arange(matrix.shape[0], dtype=matrix.dtype) ** 2)[:, None]
        for _ in range(4):
            probe = torch.cholesky_solve(probe / frobenius(probe), lower)
        if 1 / float(frobenius(probe)) > 100 * cutoff * float(matrix.trace()):
            return torch.cholesky_solve(right, lower)
    return torch.linalg.pinv(matrix, hermitian=True, rtol=cutoff) @ right


def unexplained_share(
    factor: Float[Tensor, "rows dim"],
    scatter: Float[Tensor, "dim dim"],
    spec: Spectrum,
    resolution: float = EPSILON,
) -> Float[Tensor, ""]:
    """1 - tr((S + AᵀA)⁺ AᵀA)/rank(A) in [0, 1], accurate for S far below AᵀA.

    `resolution` is the relative precision of S (float32 products: about 1e-7); directions of S
    below it cannot be told from zero. `spec`: the spectrum of A at the rank that AᵀA has by
    construction. Raises ValueError when A is zero.
    """
    if not bool((factor != 0).any()):
        raise ValueError(
            "the class means coincide, so no variance lies between classes; at least two "
            "different class means are needed"
        )
    result: Tensor = _UnexplainedShare.apply(  # type: ignore[no-untyped-call]
        factor, scatter, spec, resolution
    )
    return result


def _nearest_psd(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * values.clamp_min(0)) @ vectors.T


def frobenius(matrix: Float[Tensor, ...]) -> Float[Tensor, ""]:
    """Frobenius norm with float64 accumulation whatever the dtype of `matrix`."""
    return torch.linalg.vector_norm(matrix, dtype=torch.float64)


def unit_gap(first: Float[Tensor, ...], second: Float[Tensor, ...]) -> Float[Tensor, ""]:
    """‖A/‖A‖_F - B/‖B‖_F‖_F, in [0, 2]; the difference is formed first, so small gaps are exact."""
    return frobenius(first / frobenius(first) - second / frobenius(second))


def row_norms(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, " rows"]:
    """Euclidean norms of rows, accumulated in float64."""
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)


def unit_rows(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    """r/‖r‖ row by row. A row shorter than 1e-12 has no direction: it becomes zero, and passes no
    gradient on, where division by a least length would multiply one by 1e12."""
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    known = lengths > 1e-12
    return torch.where(known, rows, 0) / torch.where(known, lengths, 1)


def in_complement(
    unit: Float[Tensor, " size"], rows: Float[Tensor, "rest columns"]
) -> Float[Tensor, "size columns"]:
    """Q R: rows (size - 1) in coordinates of an orthonormal basis Q of the complement of a unit
    vector of positive entries, by one reflection."""
    direction = unit.clone()
    direction[0] += 1
    padded = torch.cat([torch.zeros_like(rows[:1]), rows])
    return padded - torch.outer(direction, direction @ padded) * (2 / (direction @ direction))


def complement(unit: Float[Tensor, " size"]) -> Float[Tensor, "size rest"]:
    """Q of `in_complement`: orthonormal columns (size, size - 1) orthogonal to `unit`."""
    return in_complement(unit, torch.eye(unit.numel() - 1, dtype=unit.dtype))
