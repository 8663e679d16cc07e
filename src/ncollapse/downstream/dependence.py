"""How much two sets of readings of the same samples depend on one another, by their kernels.

No densities and no noise: normalised HSIC and Rényi's matrix entropy are functions of Gram
matrices. Neither is mutual information; what moves along training is what they are for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.downstream.information import unit_spread

EXACT = 2000
SIGMA = 5.0
EPSILON = 1e-5


@dataclass(frozen=True)
class Dependence:
    """value; blocks: of how many blocks it is the mean (1: all samples at once, exact), each of
    `size` samples; error: standard error over blocks (None for one)."""

    value: float
    blocks: int
    size: int
    error: float | None

    @property
    def exact(self) -> bool:
        return self.blocks == 1


def nhsic(
    x: Tensor,
    y: Tensor,
    *,
    sigma: float = SIGMA,
    epsilon: float = EPSILON,
    exact: int = EXACT,
    seed: int = 0,
) -> Dependence:
    """Normalised HSIC of x and y: tr(R_x R_y), R = K (K + ε n I)⁻¹ with K a centred Gram matrix.

    x, y: features (samples, dim) with a Gaussian kernel e^(-‖a-b‖²/(2 σ² d)) of rows with unit
    variance a coordinate (the mean over coordinates), or labels (samples) with the linear kernel of
    one-hot rows. From 0 (independent) to about the number of directions that both resolve at ε;
    a Gaussian kernel this wide is nearly linear. Unchanged by rotation, scale and offset, and by
    the order of samples where exact.

    Exact up to `exact` samples; above, the mean over disjoint blocks of as many, dealt by `seed`,
    estimates what `exact` samples would read. Raises ValueError for lengths that differ, fewer
    than two samples, rows that all coincide, NaN, and parameters that are not positive. Source:
    Fukumizu et al. 2007 (remembered, not read); kernels as in code of Sakamoto & Sato 2026 (read;
    there K H stands for H K H: tr(R_x R_y) is the same).
    """
    if not (sigma > 0 and epsilon > 0 and exact >= 2):
        raise ValueError(
            f"sigma={sigma}, epsilon={epsilon}, exact={exact}; positive numbers, and blocks of at "
            "least 2 samples, are needed"
        )
    count = len(x)
    if count != len(y) or count < 2:
        raise ValueError(
            f"{count} samples of x and {len(y)} of y; as many of both, two at least, are needed"
        )
    rows = [_prepared(part) for part in (x, y)]
    blocks = 1 if count <= exact else count // exact
    order = torch.arange(count)
    if blocks > 1:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    size = count if count <= exact else exact
    found = []
    for block in range(blocks):
        mine = order[block * size : (block + 1) * size]
        first, second = (operator(part[mine], labels, sigma, epsilon) for part, labels in rows)
        found.append(product(first, second))
    values = torch.tensor(found, dtype=torch.float64)
    error = float(values.std() / math.sqrt(blocks)) if blocks > 1 else None
    return Dependence(float(values.mean()), blocks, size, error)


def operator(
    rows: Float[Tensor, "samples dim"], labels: bool, sigma: float, epsilon: float
) -> Float[Tensor, "samples samples"]:
    """R = K (K + ε n I)⁻¹ = I - ε n (K + ε n I)⁻¹ of prepared rows."""
    gram = rows @ rows.T if labels else gaussian_gram(rows, sigma)
    gram = gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
    ridge = epsilon * len(gram)
    lifted = (gram + gram.T) / 2 + ridge * torch.eye(len(gram), dtype=gram.dtype)
    inverse: Tensor = torch.cholesky_inverse(torch.linalg.cholesky(lifted))
    return torch.eye(len(gram), dtype=gram.dtype) - ridge * inverse


def product(
    first: Float[Tensor, "samples samples"], second: Float[Tensor, "samples samples"]
) -> float:
    """tr(R_x R_y) of symmetric operators."""
    return float((first * second).sum())


def gaussian_gram(
    rows: Float[Tensor, "samples dim"], sigma: float = SIGMA
) -> Float[Tensor, "samples samples"]:
    """e^(-‖a-b‖²/(2 σ² d)) of rows as they are."""
    square = (rows**2).sum(1)
    gaps = (square[:, None] + square - 2 * rows @ rows.T).clamp_min(0)
    gaps.fill_diagonal_(0)
    return (-gaps / (2 * sigma**2 * rows.shape[1])).exp()


def renyi_information(
    parts: Sequence[Tensor], *, alpha: float = 1.01, sigma: float = SIGMA
) -> float:
    """Matrix-based Rényi information of the first part with the others together, in nats.

    S_α(A) = log(Σ λ^α)/(1-α) of A = K/tr K, and I = S(A) + S(B) - S(A ∘ B/tr), B the Hadamard
    product over the other parts. Kernels as in `nhsic`, not centred. From 0 to log N; at a wide
    kernel it is far below mutual information, so compare it with itself. Raises ValueError for
    fewer than two parts, lengths that differ, α ≤ 0 or 1. Source: Giraldo, Rao & Príncipe 2015
    (remembered, not read).
    """
    if len(parts) < 2 or len({len(part) for part in parts}) > 1:
        raise ValueError(
            f"parts of {[len(part) for part in parts]} samples; two or more of as many are needed"
        )
    if not alpha > 0 or alpha == 1:
        raise ValueError(f"alpha={alpha}; a positive number other than 1 is needed")
    grams = []
    for part in parts:
        rows, labels = _prepared(part)
        grams.append(rows @ rows.T if labels else gaussian_gram(rows, sigma))
    first, rest = grams[0], torch.stack(grams[1:]).prod(0)
    return sum(_renyi(gram, alpha) for gram in (first, rest)) - _renyi(first * rest, alpha)


def _renyi(gram: Tensor, alpha: float) -> float:
    values = torch.linalg.eigvalsh(gram / gram.trace()).clamp_min(0)
    return math.log(float((values**alpha).sum())) / (1 - alpha)


def _prepared(part: Tensor) -> tuple[Tensor, bool]:
    """(rows to form a Gram matrix of, whether they are one-hot labels)."""
    if part.dim() == 1 and not part.is_floating_point():
        found = torch.unique(part.detach().cpu(), return_inverse=True)[1]
        return torch.nn.functional.one_hot(found).to(torch.float64), True
    rows = unit_spread(part)
    return rows * math.sqrt(rows.shape[1]), False
