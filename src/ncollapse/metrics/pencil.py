"""Σ_W against Σ_B = FᵀF in the span of the class means: tr(Σ_W Σ_B⁺) and the share unexplained.

    tr(S (FᵀF)⁺)                       = Σ P∘(S P),            P = F⁺
    1 - tr((S + FᵀF)⁺ FᵀF)/r           = tr (I + F S⁺ Fᵀ)⁻¹/r

One product and one Cholesky factor of S; no eigenvectors, and no differences: at NC1 = 1e-12 the
matrix in the second is 1e12, and its inverse the answer. A singular S is the ordinary case (fewer
samples than features, dead units, copies): directions in which nothing varies within classes
explain all of the differences that means have in them, as the pseudo-inverse says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.linalg import EPSILON, Factor

# Differences of means along directions in which nothing varies count above this share of the
# largest; what lies below is rounding.
APART = 1e-6


@dataclass(frozen=True, eq=False)
class Whitened:
    """F seen through S⁺. inner: F S⁺ Fᵀ (r, r). solved: S⁺Fᵀ (d, r). rank: of S. free: orthonormal
    columns (r, m), the combinations of rows of F that vary along directions of S alone, None where
    all do."""

    inner: Float[Tensor, "rank rank"]
    solved: Float[Tensor, "dim rank"]
    rank: int
    free: Float[Tensor, "rank some"] | None = None

    def shrunk(self) -> Float[Tensor, "rank rank"]:
        """(I + F S⁺ Fᵀ)⁻¹, zero on what S does not see."""
        inner = self.inner if self.free is None else self.free.T @ self.inner @ self.free
        eye = torch.eye(inner.shape[0], dtype=inner.dtype)
        lower, failed = torch.linalg.cholesky_ex(eye + inner)
        if int(failed):
            # Directions that rounding alone holds apart beside ones that explain everything.
            sizes, axes = torch.linalg.eigh(inner)
            found = (axes / (1 + sizes.clamp_min(0))) @ axes.T
        else:
            found = torch.cholesky_inverse(lower)
        return found if self.free is None else self.free @ found @ self.free.T


def whitened(
    scatter: Float[Tensor, "dim dim"],
    F: Float[Tensor, "rank dim"],
    *,
    resolution: float = EPSILON,
    most: int | None = None,
) -> Whitened:
    """F through S⁺ by a Cholesky factor of S; a pivoted one, at unit diagonal, where S is singular.

    resolution: relative precision of S; pivots below 16 d ε or 8 times it are zero. most: the rank
    that S can have at most (N - K).
    """
    S, F = scatter.detach(), F.detach()
    dim = S.shape[0]
    tolerance = max(16 * dim * EPSILON, 8 * resolution)
    if most is None or most >= dim:
        lower, failed = torch.linalg.cholesky_ex(S)
        if not int(failed) and bool((lower.diagonal() ** 2 > tolerance * S.diagonal()).all()):
            Y = torch.linalg.solve_triangular(lower, F.T, upper=False)
            solved = torch.linalg.solve_triangular(lower.T, Y, upper=True)
            return Whitened(Y.T @ Y, solved, dim)
    return _pivoted(S, F, tolerance, dim if most is None else most)


def column_space(
    scatter: Float[Tensor, "dim dim"],
    *,
    resolution: float = EPSILON,
    most: int | None = None,
) -> Float[Tensor, "dim rank"]:
    """Orthonormal columns that span what S varies along, by the tolerance of `whitened`."""
    S = scatter.detach()
    dim = S.shape[0]
    lower, order, size, rank = _pivots(S, max(16 * dim * EPSILON, 8 * resolution), most or dim)
    rows = torch.empty(dim, rank, dtype=S.dtype)
    rows[order] = lower[:, :rank].tril()
    return torch.linalg.qr(rows * size[:, None]).Q


def _pivots(S: Tensor, tolerance: float, most: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """(L, order, size, rank): S over its diagonal's roots `size` is LLᵀ in this order, LAPACK's
    pivoted Cholesky factor."""
    from scipy.linalg.lapack import dpstrf

    size = S.diagonal().clamp_min(0).sqrt()
    size = torch.where(size > 0, size, 1.0)
    found, pivots, rank, _ = dpstrf((S / size[:, None] / size).numpy(), tol=tolerance, lower=1)
    order = torch.from_numpy(pivots.astype("int64") - 1)
    return torch.from_numpy(found), order, size, max(min(int(rank), most), 0)


def _pivoted(S: Tensor, F: Tensor, tolerance: float, most: int) -> Whitened:
    lower, order, size, rank = _pivots(S, tolerance, most)
    held, still = order[:rank], order[rank:]
    inside, below = lower[:rank, :rank].tril(), lower[rank:, :rank]
    f = (F / size).T
    Y = torch.linalg.solve_triangular(inside, f[held], upper=False)
    solved = torch.zeros_like(f)
    solved[held] = torch.linalg.solve_triangular(inside.T, Y, upper=True)
    # What means differ by where nothing varies, in the units of the features.
    rest = (f[still] - below @ Y) * size[still, None]
    free: Tensor | None = None
    if rest.numel():
        if rest.shape[0] > rest.shape[1]:
            rest = torch.linalg.qr(rest, mode="r").R
        _, values, axes = torch.linalg.svd(rest, full_matrices=True)
        apart = int((values > APART * float(torch.linalg.matrix_norm(F))).sum())
        free = axes[apart:].T if apart else None
    return Whitened(Y.T @ Y, solved / size[:, None], rank, free)


class _TraceThroughPinv(torch.autograd.Function):
    """f(A, S) = tr(S (AᵀA)⁺) with the derivative at constant rank.

    Differentiating an SVD divides by differences of singular values, which are all zero exactly
    at a simplex frame; the derivative of a pseudo-inverse of constant rank has no such term.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scatter: Tensor, factor: Factor) -> Tensor:
        seen = scatter @ factor.pinv
        ctx.save_for_backward(seen)
        ctx.factor = factor
        # Each term is p'Sp with S positive semi-definite: rounding alone could push one below 0.
        return (seen * factor.pinv).sum(0).clamp_min(0).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (seen,), factor = ctx.saved_tensors, ctx.factor
        P = factor.pinv
        inner = -(P.T @ seen) @ P.T
        if factor.range is not None:
            outside = seen.T - (seen.T @ factor.range) @ factor.range.T
            inner = inner + (P.T @ P) @ outside
        to_scatter = P @ P.T if ctx.needs_input_grad[1] else None
        return (
            grads[0] * 2 * factor.left @ inner,
            None if to_scatter is None else grads[0] * to_scatter,
            None,
        )


def trace_through_pinv(
    rows: Float[Tensor, "rows dim"], scatter: Float[Tensor, "dim dim"], factor: Factor
) -> Float[Tensor, ""]:
    """tr(S (AᵀA)⁺) ≥ 0 for positive semi-definite S, differentiable in the rows A and in S.

    factor: that of AᵀA.
    """
    result: Tensor = _TraceThroughPinv.apply(rows, scatter, factor)  # type: ignore[no-untyped-call]
    return result


class _UnexplainedShare(torch.autograd.Function):
    """f(A, S) = tr (I + F S⁺ Fᵀ)⁻¹/r."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scatter: Tensor, factor: Factor, white: Whitened) -> Tensor:
        shrunk = white.shrunk()
        ctx.factor, ctx.white = factor, white
        ctx.save_for_backward(shrunk)
        return shrunk.diagonal().sum() / factor.rank

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (shrunk,), factor = ctx.saved_tensors, ctx.factor
        W = ctx.white.solved @ shrunk
        scale = grads[0] / factor.rank
        to_scatter = scale * W @ W.T if ctx.needs_input_grad[1] else None
        to_rows = -2 * scale * factor.left @ (shrunk @ W.T)
        return to_rows, to_scatter, None, None


def unexplained_share(
    rows: Float[Tensor, "rows dim"],
    scatter: Float[Tensor, "dim dim"],
    factor: Factor,
    white: Whitened,
) -> Float[Tensor, ""]:
    """1 - tr((S + AᵀA)⁺ AᵀA)/rank A in [0, 1], right for S far below AᵀA; differentiable in the
    rows A and in S. factor: that of AᵀA; white: F through S⁺."""
    result: Tensor = _UnexplainedShare.apply(  # type: ignore[no-untyped-call]
        rows, scatter, factor, white
    )
    return result


# ---- derivatives by Σ_W -------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Quadratic:
    """A derivative V X Vᵀ by a d × d matrix: V (d, r), X (r, r) symmetric. inverse: whether it is
    of something that S⁺ stands in."""

    V: Float[Tensor, "dim rank"]
    X: Float[Tensor, "rank rank"]
    inverse: bool = False


class _Congruent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        F: Tensor,
        left: Tensor,
        value: Tensor,
        record: list[Quadratic] | None,
        V: Tensor,
        sign: float,
    ) -> Tensor:
        ctx.save_for_backward(left, V)
        ctx.record, ctx.sign = record, sign
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        left, V = ctx.saved_tensors
        X = (grads[0] + grads[0].T) / 2
        if ctx.record is not None:
            ctx.record.append(Quadratic(V, ctx.sign * X, ctx.sign < 0))
        return 2 * X @ left.T, None, None, None, None, None


def congruent(
    F: Float[Tensor, "rank dim"],
    left: Float[Tensor, "dim rank"],
    value: Float[Tensor, "rank rank"],
    record: list[Quadratic] | None,
    V: Float[Tensor, "dim rank"],
    sign: float,
) -> Float[Tensor, "rank rank"]:
    """`value` = F left with left = S Fᵀ or S⁺Fᵀ, as a function of F; the derivative by S, V X Vᵀ
    times `sign`, goes to `record` when one is taken. So no d × d matrix of it is formed."""
    found: Tensor = _Congruent.apply(F, left, value, record, V, sign)  # type: ignore[no-untyped-call]
    return found
