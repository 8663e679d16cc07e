"""What the span of a layer's class means shares with the weight that reads them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.geometry import Geometry

# Up to so many rows or columns a weight's singular vectors are found all at once.
LARGEST = 1536
# Products of rows with each other square their condition: below these ratios QR is used.
CONDITION, SMALLEST = 0.05, 0.03


def span_alignment(geometry: Geometry) -> Float[Tensor, ""]:
    """Mean cos² of the angles between the span of the centred class means and the directions that
    the next weight reads most: ‖U_MᵀV_W‖²_F / r.

    U_M (d, r): orthonormal, spans the centred means, r = rank ≤ K - 1. V_W (d, r): the top right
    singular vectors of the weight that these features enter, `geometry.reads`. In [0, 1], ideal 1;
    random directions read r/d. Differentiable in the means, with V_W held fixed. Source: Rangamani
    et al. 2023 (abstract read; the formula is ours).

    Raises ValueError where nothing reads these features, where the means span all of them, and
    where they coincide.
    """
    if geometry.num_classes > geometry.num_features:
        raise ValueError(
            f"{geometry.num_classes} class means fill all {geometry.num_features} directions, so "
            "any weight is aligned with them"
        )
    if geometry.reads is None:
        raise ValueError("no weight is known that reads these features")
    M = geometry.centred_means
    if not M.requires_grad:
        # Centred rows sum to zero: all but one of them span what all span.
        quick = span_share(M[:-1], geometry.reads)
        if quick is not None:
            return quick.clamp(max=1.0)
    between = geometry.between
    assert between.range is not None
    rank = min(between.rank, len(geometry.reads))
    V, U = geometry.reads[:rank], between.range
    seen = V @ U
    value = seen.square().sum() / rank
    if not M.requires_grad:
        return value.clamp(max=1.0)
    # d tr(V P Vᵀ) = 2 tr(V M⁺ dM (I - P) Vᵀ), P = M⁺M the projection on the span.
    pinv = between.pinv @ between.left.T / geometry.num_classes**0.5
    moved = (V @ pinv) @ (M - M.detach())
    return value + 2 * (moved * (V - seen @ U.T)).sum() / rank


def span_share(
    rows: Float[Tensor, "*batch rank dim"], reads: Float[Tensor, "some dim"]
) -> Float[Tensor, "*batch"] | None:
    """‖V Uᵀ‖²_F / r, U orthonormal with the span of the rows A, by the Cholesky factor L of AAᵀ:
    ‖L⁻¹AVᵀ‖²_F / r. A third of a QR's cost; None where A's condition would spoil it."""
    A = rows.to(torch.float64)
    V = reads[: A.shape[-2]]
    L, failed = torch.linalg.cholesky_ex(A @ A.mT)
    size = L.diagonal(dim1=-2, dim2=-1)
    if bool(failed.any()) or float((size.amin(-1) / size.amax(-1)).min()) < CONDITION:
        return None
    seen = torch.linalg.solve_triangular(L, A @ V.mT, upper=False)
    return seen.square().sum((-2, -1)) / len(V)


def strongest(weight: Float[Tensor, "out dim"], number: int) -> Float[Tensor, "some dim"] | None:
    """The right singular vectors (rows) of the largest singular values of a weight, at most
    `number`; None where finding them would cost more than reading them is worth."""
    W = weight.detach().to(torch.float64)
    number = min(number, *W.shape)
    small = min(W.shape)
    if small > LARGEST and number > small // 10:
        return None
    tall = W.shape[0] > W.shape[1]
    square = W.T @ W if tall else W @ W.T
    if small <= LARGEST:
        values, vectors = torch.linalg.eigh(square)
    else:
        from scipy.sparse.linalg import eigsh

        start = np.random.default_rng(0).normal(size=small)
        found = eigsh(square.numpy(), k=number, v0=start, tol=1e-10)
        values, vectors = (torch.from_numpy(part) for part in found)
    top, sizes = vectors[:, -number:].flip(1), values[-number:].flip(0).clamp_min(0).sqrt()
    if not tall:
        # Right vectors from left ones: w = Wᵀu/σ, where no small σ spoils it.
        top = W.T @ top
        if float(sizes[-1]) > SMALLEST * float(sizes[0]):
            top = top / sizes
        else:
            top, _ = torch.linalg.qr(top)
    return top.T.contiguous()
