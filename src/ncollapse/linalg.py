"""Linear algebra that stays right when features collapse.

Three habits keep the numbers honest: norms are taken in float64 (a float32 Frobenius norm on a
CPU drifts by per cents on large matrices), pseudo-inverses go through a factor of the matrix and
never through its Gram matrix (the condition number is not squared), and the rank is fixed by
construction instead of by a hidden tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# Singular values below this share of the largest (times the longer side) are zero in float64.
EPSILON = torch.finfo(torch.float64).eps
# Tiles of a symmetric product: t of them cost (t + 1)/(2t) of a whole one.
TILES, TILE = 4, 128
# Up to here K × K Gram matrices are formed; beyond, d × d identities serve.
LARGEST_GRAM = 2048


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


def out_of_complement(
    unit: Float[Tensor, " size"], rows: Float[Tensor, "size columns"]
) -> Float[Tensor, "rest columns"]:
    """Qᵀ R of the same basis: rows (size) in its coordinates, less what lies along `unit`."""
    direction = unit.clone()
    direction[0] += 1
    reflected = rows - torch.outer(direction, direction @ rows) * (2 / (direction @ direction))
    return reflected[1:]


def complement(unit: Float[Tensor, " size"]) -> Float[Tensor, "size rest"]:
    """Q of `in_complement`: orthonormal columns (size, size - 1) orthogonal to `unit`."""
    return in_complement(unit, torch.eye(unit.numel() - 1, dtype=unit.dtype))


def ridge(
    scatter: Float[Tensor, "dim dim"], cross: Float[Tensor, "dim targets"], level: float
) -> Float[Tensor, "dim targets"]:
    """(S + λ I)⁻¹ C for a positive semi-definite S, with λ = level · tr S / d; S⁺ C at level 0.

    λ counts in mean eigenvalues, so the answer is that of rescaled features, rescaled back. Raises
    ValueError for a negative level, and where S is zero.
    """
    if not 0 <= level < float("inf"):
        raise ValueError(f"ridge={level}; a finite number ≥ 0 is needed")
    size = scatter.shape[0]
    mean = float(scatter.diagonal().mean())
    if not mean > 0:
        raise ValueError("the features do not vary, so nothing can be fitted to them")
    if level:
        shifted = scatter + level * mean * torch.eye(size, dtype=scatter.dtype)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if not int(failed):
            return torch.cholesky_solve(cross, factor)
    values, vectors = torch.linalg.eigh(scatter)
    kept = values > EPSILON * size * values[-1]
    gain = torch.where(kept, 1 / torch.where(kept, values + level * mean, 1), 0)
    return vectors @ (gain[:, None] * (vectors.T @ cross))


@dataclass(frozen=True, eq=False)
class Factor:
    """A positive semi-definite matrix FᵀF of known rank r by F (r, d) of full row rank.

    pinv: F⁺ (d, r). range: orthonormal columns (d, r) that span the rows of F, None where r = d.
    left: orthonormal columns (rows, r) with A = left F for the rows A that were given.
    """

    F: Float[Tensor, "rank dim"]
    pinv: Float[Tensor, "dim rank"]
    range: Float[Tensor, "dim rank"] | None
    left: Float[Tensor, "rows rank"]

    @property
    def rank(self) -> int:
        return int(self.F.shape[0])

    def extremes(self) -> tuple[float, float]:
        """The largest and the least singular value of F."""
        from scipy.sparse.linalg import LinearOperator, eigsh

        if self.rank < 16:
            values = torch.linalg.svdvals(self.F)
            return float(values[0]), float(values[-1])
        start = np.ones(self.rank)
        found = []
        for wide in (self.F.numpy(), self.pinv.T.numpy()):
            square = LinearOperator(
                (self.rank, self.rank), matvec=lambda x, A=wide: A @ (A.T @ x), dtype=np.float64
            )
            top = eigsh(square, k=1, v0=start, tol=1e-6, return_eigenvectors=False)
            found.append(float(top[0]) ** 0.5)
        return found[0], 1 / found[1]


def factored(rows: Float[Tensor, "rows dim"], null: Float[Tensor, " rows"]) -> Factor:
    """The factor of AᵀA for `rows` A with nullᵀA = 0, null a unit vector of positive entries.

    One reflection removes the null vector, which leaves K - 1 contrasts; a thin QR of them gives
    the pseudo-inverse. Only where its diagonal says that the rank is short (two classes with one
    mean) are singular values formed, of the small triangle. Raises ValueError when A is zero.
    """
    rows = rows.detach()
    F = out_of_complement(null, rows)
    left: Tensor | None = None
    if F.shape[0] > F.shape[1]:
        left, F = torch.linalg.qr(F)
    Q, R = torch.linalg.qr(F.T)
    size = R.diagonal().abs()
    top = float(size.max())
    if not top > 0:
        raise ValueError(
            "the class means coincide, so nothing varies between classes; at least two different "
            "class means are needed"
        )
    if float(size.min()) > 100 * EPSILON * max(rows.shape) * top:
        pinv = torch.linalg.solve_triangular(R.T, Q, upper=False, left=False)
    else:
        U, values, V = torch.linalg.svd(R)
        keep = values > EPSILON * max(rows.shape) * values[0]
        values, turn = values[keep], V[keep]
        Q = Q @ U[:, keep]
        F, pinv = values[:, None] * Q.T, Q / values
        left = turn.T if left is None else left @ turn.T
    full = F.shape[0] == F.shape[1]
    return Factor(F, pinv, None if full else Q, in_complement(null, _square(left, F)))


def _square(left: Tensor | None, F: Tensor) -> Tensor:
    return torch.eye(F.shape[0], dtype=F.dtype) if left is None else left


def add_symmetric(products: Tensor, rows: Tensor) -> None:
    """products += rowsᵀ rows, in place. In one dtype on the CPU, the lower block triangle only,
    which costs little more in float64 than a whole product in float32; see `mirrored`."""
    if products.device.type != "cpu" or products.dtype != rows.dtype:
        products.add_(rows.T @ rows)
        return
    size = products.shape[0]
    step = -(-size // max(1, min(TILES, size // TILE)))
    for start in range(0, size, step):
        stop = min(start + step, size)
        products[start:stop, :stop].addmm_(rows[:, start:stop].T, rows[:, :stop])


def mirrored(products: Tensor) -> Tensor:
    """Upper triangle from the lower one, in place; of one matrix or of several."""
    if products.device.type == "cpu":
        size = products.shape[-1]
        step = -(-size // max(1, min(TILES, size // TILE)))
        for start in range(step, size, step):
            stop = min(start + step, size)
            products[..., :start, start:stop] = products[..., start:stop, :start].mT
    return products


def rotation(rows: int, columns: int, seed: int) -> Tensor:
    """Orthonormal rows (rows, columns) drawn by an own generator."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(columns, rows, generator=generator, dtype=torch.float64))
    return basis.T


def gram_gap(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    """‖A/‖A‖ - B/‖B‖‖_F for A = L₁R₁ᵀ and B = L₂R₂ᵀ, K × K only while that is small."""
    if first[0].shape[0] <= LARGEST_GRAM:
        return float(unit_gap(first[0] @ first[1].T, second[0] @ second[1].T))

    def inner(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
        return float(((a[0].T @ b[0]) * (a[1].T @ b[1])).sum())

    scale = (inner(first, first) * inner(second, second)) ** 0.5
    return float(max(0.0, 2 - 2 * inner(first, second) / scale)) ** 0.5


def hull_distances(unit: Tensor) -> Tensor:
    """Per row its distance to the convex hull of all other rows; see
    `Geometry.one_vs_rest_margin`."""
    from scipy.optimize import nnls

    points = unit.detach().cpu().numpy()
    margins = np.empty(len(points))
    target = np.zeros(points.shape[1] + 1)
    target[-1] = 1
    for k in range(len(points)):
        others = np.delete(points, k, axis=0) - points[k]
        solution, _ = nnls(np.vstack([others.T, np.ones(len(others))]), target)
        margins[k] = np.linalg.norm(others.T @ solution) / solution.sum()
    return torch.from_numpy(margins)
