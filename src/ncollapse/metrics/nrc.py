"""Neural regression collapse (NRC): formulas of features h (d), targets y (n) and the head W h + b.

With samples divided by M, Σ = M⁻¹ (Y - Ȳ)(Y - Ȳ)ᵀ the covariance of the targets and G = WWᵀ. All
functions are pure and differentiable. Source: Andriopoulos et al. 2024 (NRC1 to NRC3); Rangamani &
Unal 2026 (readings of layers), whose code drops features before its linear CKA, which this does
not.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.linalg import EPSILON

# Singular values of the features below this share of the largest do not help to predict.
LINEAR_CUT = 1e-3


def off_share(
    features: Float[Tensor, "samples dim"], basis: Float[Tensor, "dim number"]
) -> Float[Tensor, ""]:
    """M⁻¹ Σ ‖h̃ - P h̃‖², h̃ = h/‖h‖, P the projection onto the orthonormal columns of `basis`: NRC1
    for the top n principal directions of the features, NRC2 for the row space of W.

    In [0, 1], ideal 0. Features that are centred first give the variant `…_centred`. A sample at 0
    counts 0.
    """
    off = ((features - (features @ basis) @ basis.T) ** 2).sum(1)
    whole = (features**2).sum(1)
    return torch.where(whole > 0, off / torch.where(whole > 0, whole, 1), 0).mean()


def root(covariance: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Σ^½, the symmetric square root."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def nrc3(
    gram: Float[Tensor, "n n"],
    covariance: Float[Tensor, "n n"],
    gamma: float | None = None,
) -> Float[Tensor, ""]:
    """‖ G/‖G‖ - A/‖A‖ ‖²_F, A = Σ^½ - √γ I, for γ in [0, λ_min(Σ)); without γ for the best one.

    In [0, 2], ideal 0; 0 for one target whatever W is. Raises ValueError for G = 0, and where A =
    0.
    """
    half = root(covariance)
    if gamma is None:
        gamma = best_gamma(gram, covariance)
    shifted = half - gamma**0.5 * torch.eye(len(half), dtype=half.dtype)
    lengths = gram.norm(), shifted.norm()
    if not bool(lengths[0] > 0):
        raise ValueError("the rows of the head are zero, so their Gram matrix has no direction")
    if not bool(lengths[1] > EPSILON * half.norm()):
        raise ValueError(f"Σ^½ - √γ I vanishes at γ = {gamma:.3g}; pass a smaller γ")
    return ((gram / lengths[0] - shifted / lengths[1]) ** 2).sum()


def best_gamma(gram: Float[Tensor, "n n"], covariance: Float[Tensor, "n n"]) -> float:
    """The γ in [0, λ_min(Σ)] that makes `nrc3` least, by formula.

    With g = tr G, t = tr Σ^½, q = tr Σ, p = ⟨G, Σ^½⟩ the cosine of the two matrices is stationary
    at √γ = (g q - p t)/(g t - n p); the best of 0, √λ_min and that one, where it lies between them.
    Derived here, and never worse than a grid. The paper's formula, of the matrices without their
    lengths, is another minimiser.
    """
    G, S = gram.detach().to(torch.float64), covariance.detach().to(torch.float64)
    half, n = root(S), len(S)
    top = float(torch.linalg.eigvalsh(S)[0].clamp_min(0).sqrt())
    g, t, q, p = (float(x) for x in (G.trace(), half.trace(), S.trace(), (G * half).sum()))
    below = g * t - n * p
    places = [0.0, top * (1 - 4 * EPSILON)]
    if below != 0 and 0 < (inside := (g * q - p * t) / below) < top:
        places.append(inside)
    eye = torch.eye(n, dtype=torch.float64)

    def cosine(place: float) -> float:
        shifted = half - place * eye
        length = float(shifted.norm())
        tiny = length <= 1e-12 * float(half.norm())
        return -torch.inf if tiny else float((G * shifted).sum()) / length

    return max(places, key=cosine) ** 2


def top_share(values: Float[Tensor, " d"], number: int) -> Float[Tensor, ""]:
    """Σ_{j≤n} λ_j/Σ_j λ_j of descending eigenvalues: the variance that n directions explain, in
    [0, 1], ideal 1."""
    return values[:number].sum() / values.sum()


def stable_rank(values: Float[Tensor, " d"]) -> Float[Tensor, ""]:
    """‖s‖²/s₁² of singular values: Σ λ²/λ₁² of the features' covariance, ‖W‖²_F/σ₁² of a weight.
    From 1 to the rank."""
    return (values**2).sum() / values.max() ** 2


def linear_cka(
    covariance: Float[Tensor, "d d"], cross: Float[Tensor, "d n"], target: Float[Tensor, "n n"]
) -> Float[Tensor, ""]:
    """‖H_cᵀ Y_c‖²_F/(‖H_cᵀ H_c‖_F ‖Y_cᵀ Y_c‖_F), in [0, 1], ideal 1: from moments, with all
    features and without an N × N matrix."""
    return (cross**2).sum() / (covariance.norm() * target.norm())


def alignment(directions: Float[Tensor, "d n"], weight: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean singular value of VᵀU: V the top n principal directions of the features, U the right
    singular vectors of W. In [0, 1], ideal 1."""
    rows = torch.linalg.svd(weight, full_matrices=False)[2]
    return torch.linalg.svdvals(directions.T @ rows.T).mean()


def linear_error(
    values: Float[Tensor, " d"],
    vectors: Float[Tensor, "d d"],
    cross: Float[Tensor, "d n"],
    target: Float[Tensor, "n n"],
) -> Float[Tensor, ""]:
    """Mean over targets of the squared error of the best linear readout of these samples,
    (tr Σ - ‖Λ^{-½} Vᵀ C‖²)/n, in directions whose standard deviation is at least 1e-3 of the
    largest. At most tr Σ/n."""
    kept = values > LINEAR_CUT**2 * values.max()
    told = ((vectors[:, kept].T @ cross) ** 2 / values[kept, None]).sum()
    return (target.trace() - told).clamp_min(0) / len(target)
