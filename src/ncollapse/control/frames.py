"""Frames that heads impose: simplex, orthogonal, and the simplex nearest to given class means.

Everything is built in float64 and cast by whoever holds it.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.geometry import Geometry


def simplex_frame(
    num_classes: int, num_features: int, *, seed: int | None = 0
) -> Float[Tensor, "classes dim"]:
    """K unit rows with cosines -1/(K-1) and sum zero, in float64.

    seed: of the rotation into d ≥ K - 1 dimensions. None gives the frame √(K/(K-1)) (I - 11ᵀ/K)
    along the first K axes, which needs d ≥ K: the one that features after a ReLU can align with,
    since the unit vectors e_k are not negative. Raises ValueError for K < 2 and for widths that
    cannot hold it. Source: Papyan, Han, Donoho 2020.
    """
    check_sizes(num_classes, num_features)
    K, d = num_classes, num_features
    if d < K - 1:
        raise ValueError(
            f"in_features={d} cannot hold a simplex of num_classes={K}: at least {K - 1} are "
            f"needed. Use CodeHead({d}, {K}), the softmax code for many classes in few "
            "dimensions, or widen the features"
        )
    if seed is not None:
        rows = Geometry.simplex_etf(K, d, seed=seed).means
        assert rows is not None
        return rows
    if d < K:
        raise ValueError(
            f"in_features={d}; a simplex along the axes (seed=None) needs one axis a class, "
            f"{K}. Pass a seed for a rotated one, which {K - 1} features hold"
        )
    rows = torch.zeros(K, d, dtype=torch.float64)
    rows[:, :K] = torch.eye(K, dtype=torch.float64) - 1 / K
    return rows * (K / (K - 1)) ** 0.5


def orthogonal_frame(
    num_classes: int, num_features: int, *, seed: int | None = 0
) -> Float[Tensor, "classes dim"]:
    """K orthonormal rows in float64; needs d ≥ K. seed=None takes the first K axes.

    Raises ValueError for K < 2 and d < K. Source: Zhou et al. 2022.
    """
    check_sizes(num_classes, num_features)
    K, d = num_classes, num_features
    if d < K:
        instead = (
            f"SimplexHead({d}, {K})" if d == K - 1 else f"CodeHead({d}, {K}), the softmax code,"
        )
        raise ValueError(
            f"in_features={d} cannot hold {K} orthogonal classes: at least {K} are needed. Use "
            f"{instead} or widen the features"
        )
    if seed is None:
        return torch.eye(K, d, dtype=torch.float64)
    rows = Geometry.orthogonal([1.0] * K, d, seed=seed).means
    assert rows is not None
    return rows


def rotation(rows: int, columns: int, seed: int) -> Float[Tensor, "rows columns"]:
    """Orthonormal rows drawn by an own generator, in float64; rows ≤ columns."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(columns, rows, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(normal).Q.T


def check_sizes(num_classes: int, num_features: int) -> None:
    """Raise ValueError unless there are two classes and one feature."""
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}; a head needs at least 2")
    if num_features < 1:
        raise ValueError(f"in_features={num_features}; at least 1 is needed")


# ---- the nearest simplex --------------------------------------------------------------------
def nearest_simplex(
    rows: Float[Tensor, "classes dim"],
    previous: Float[Tensor, "dim less"] | None = None,
    proximal: float = 0.0,
) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, "dim less"]]:
    """The unit simplex frame nearest to `rows`, and its basis Q (d, K-1); differentiable in rows.

    With B (K, K-1) an orthonormal basis of 1⊥, simplex frames are √(K/(K-1)) B Qᵀ with QᵀQ = I,
    so every quadratic in Q is constant and

        argmin_Q ‖Y - BQᵀ/√(K-1)‖² + δ/2 ‖Q - Q_prox‖²  =  polar( 2/√(K-1) YᵀB + δ Q_prox ),

    one thin singular value decomposition, for any d ≥ K - 1. Working on 1⊥ leaves no null
    direction, along which a polar factor has no derivative. B is a Householder reflection and is
    never formed: memory O(dK). previous: Q_prox; proximal: δ ≥ 0.

    Source: the problem is that of Markou, Ajanthan, Gould 2024; its closed form is derived here.
    """
    K = rows.shape[0]
    lifted = 2 / (K - 1) ** 0.5 * into_complement(rows).T
    if previous is not None and proximal:
        lifted = lifted + proximal * previous.to(lifted.dtype)
    basis = polar_factor(lifted)
    return (K / (K - 1)) ** 0.5 * _out_of_complement(basis.T), basis


def into_complement(rows: Tensor) -> Tensor:
    """BᵀY: rows (K, d) → (K-1, d)."""
    return _reflect(rows)[1:]


def _out_of_complement(rows: Tensor) -> Tensor:
    """B Z: rows (K-1, d) → (K, d), with sum zero."""
    return _reflect(torch.cat([torch.zeros_like(rows[:1]), rows]))


def _reflect(rows: Tensor) -> Tensor:
    """The Householder reflection that swaps e_1 and -1/√K, applied from the left."""
    K = rows.shape[0]
    normal = torch.full((K, 1), K**-0.5, dtype=rows.dtype, device=rows.device)
    normal[0] += 1
    return rows - normal * (normal.T @ rows) * (2 / (normal * normal).sum())


class _Polar(torch.autograd.Function):
    """P = A (AᵀA)^(-1/2) for A (d, m), d ≥ m.

    The derivative divides by sums s_i + s_j of singular values, never by differences: equal
    values, the rule at a collapsed simplex, are harmless. Directions below rounding get none.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        ctx.save_for_backward(left, values, right)
        return left @ right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,) = grads
        left, values, right = ctx.saved_tensors
        floor = values[0] * torch.finfo(values.dtype).eps * max(left.shape)
        turned = grad @ right.T
        inner = left.T @ turned
        sums = values[:, None] + values
        skew = torch.where(sums > floor, (inner - inner.T) / sums, 0)
        inverse = torch.where(values > floor, 1 / values, 0)
        # In the columns' span the skew part moves A, off it 1/s: four products in all.
        return (left @ (skew - inner * inverse) + turned * inverse) @ right


def polar_factor(matrix: Float[Tensor, "dim less"]) -> Float[Tensor, "dim less"]:
    """The matrix with orthonormal columns nearest to `matrix` (d ≥ m), differentiable."""
    result: Tensor = _Polar.apply(matrix)  # type: ignore[no-untyped-call]
    return result
