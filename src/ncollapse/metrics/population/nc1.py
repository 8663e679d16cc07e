"""Population values of NC1, as `ncollapse.metrics.population.sample` has them.

Each function takes a `Sample` and gives a float64 scalar, or raises `CannotTellError`. What plug-in
readings get wrong is the noise of the class means, which makes means look farther apart, and the
divisor n_c, which makes spreads look smaller.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.metrics.population.sample import COINCIDE, CannotTellError, Sample

# What debiasing leaves of tr(Σ_W Σ_B⁺) is of relative size ‖Σ_W‖/(n λ) and √(tr Σ_W²/K)/(n λ), λ
# the least eigenvalue of Σ_B: above these shares no value is given.
FIRST, SECOND = 0.15, 0.5
# From here on (N - K = 1.5 q for equal classes) the inverse of a scatter is not worth having.
LARGEST_INFLATION = 3.0


def nc1_ratio(sample: Sample) -> Float[Tensor, ...]:
    """tr Σ_W / tr Σ_B; numerator and denominator are exactly unbiased."""
    if bool((sample.between <= 0).any()):
        raise CannotTellError(COINCIDE)
    return sample.within / sample.between


def fisher_ratio(sample: Sample) -> Float[Tensor, ...]:
    """tr Σ_B / tr Σ_W."""
    if bool((sample.between <= 0).any()):
        raise CannotTellError(COINCIDE)
    return sample.between / sample.within


def class_share(sample: Sample) -> Float[Tensor, ...]:
    """tr Σ_B / (tr Σ_B + tr Σ_W), classes weighed alike."""
    total = sample.between + sample.within
    if bool((total <= 0).any()):
        raise CannotTellError("nothing varies")
    return sample.between / total


def nc1_cdnv(sample: Sample) -> Float[Tensor, ...]:
    """Mean over pairs of (s_i + s_j)/(2 d²_ij), d²_ij without the noise of the means."""
    distances, spreads = sample.squared_distances, sample.spreads
    pairs = ~torch.eye(sample.num_classes, dtype=torch.bool)
    if float(distances[..., pairs].min()) <= 0:
        raise CannotTellError("two class means are not told apart")
    both = (spreads[:, None] + spreads[None]) / 2
    return (both[pairs] / distances[..., pairs]).mean(-1)


def worst_share(sample: Sample) -> Float[Tensor, "*draws classes"]:
    """The shares of all classes, of which the least is read."""
    return shares(sample)[0]


def shares(sample: Sample) -> tuple[Float[Tensor, "*draws classes"], Int[Tensor, "*draws classes"]]:
    """Per class min_j d²_cj/(d²_cj + s_c + s_j), and j: the share of the mean squared distance
    between a sample of c and one of j that their means explain. 1 for collapse, 0 for merged
    classes; below 0 where their distance is less than noise."""
    distances, spreads = sample.squared_distances, sample.spreads
    both = spreads[:, None] + spreads[None]
    found = distances / (distances.clamp_min(0) + both)
    found = torch.where(both > 0, found, (distances > 0).to(torch.float64))
    found.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    least = found.min(-1)
    return least.values, least.indices


def nc1_fisher(sample: Sample) -> Float[Tensor, ...]:
    """tr(Σ_W Σ_B⁺)/K = tr(G⁻¹AG⁻¹)/K on the complement of √p, G = FFᵀ and A = FΣ_WFᵀ less their
    noise; that of A takes Σ_c proportional to Σ_W [approximation].

    Where fewer than K - 1 directions are occupied, tr(Σ_W Σ_B⁻¹)/K in those, with
    Σ_B - Σ p_c (1 - p_c) Σ_c/n_c.
    """
    _check_scatter(sample)
    K = sample.num_classes
    if sample.white.rank < K - 1 and sample.between_factor.rank < K - 1:
        sample = sample.located()
        assert sample.scatter is not None
        if sample.scatter.shape[0] < K - 1:
            return _fisher_inside(sample)
    sample.small()
    if sample.between_factor.rank < K - 1:
        raise CannotTellError(_unresolved(sample))
    p, noise, left = sample.weights, sample.noise, sample.between_factor.left
    F = sample.contrasts
    G = F @ F.T - left.T @ ((p * noise)[:, None] * left)
    seen = p * noise * (sample.trace_square / sample.within)
    A = sample.seen() - left.T @ (seen[:, None] * left)
    _check_resolved(sample, G)
    inverse = torch.linalg.inv(G)
    return (inverse @ A @ inverse).diagonal().sum() / K


def _fisher_inside(sample: Sample) -> Float[Tensor, ...]:
    """Of fewer directions than K - 1: tr(Σ_W Σ_B⁻¹)/K in those."""
    assert sample.scatter is not None
    p, scatter = sample.weights, sample.scatter * sample.stretch
    lost = (p * (1 - p) * sample.noise).sum() / sample.within
    B = sample.factor.T @ sample.factor - scatter * lost
    _check_resolved(sample, B)
    return torch.linalg.solve(B, scatter).diagonal().sum() / sample.num_classes


def _check_scatter(sample: Sample) -> None:
    if sample.scatter is None:
        raise CannotTellError("Σ_W was not kept, or nothing varies within classes")


def _check_resolved(sample: Sample, between: Tensor) -> None:
    """Whether the least eigenvalue of what lies between classes stands clear of noise."""
    least = float(torch.linalg.eigvalsh(between.detach())[0])
    n = sample.typical
    meets = (sample.trace_square / sample.num_classes) ** 0.5
    if least <= 0 or sample.top > FIRST * n * least or meets > SECOND * n * least:
        raise CannotTellError(_unresolved(sample))


def _unresolved(sample: Sample) -> str:
    return (
        f"{sample.typical:.3g} samples a class do not resolve the direction in which means differ "
        "least"
    )


def inflation(sample: Sample, directions: int) -> float:
    """κ with E S⁻¹ = κ Σ_W⁻¹ in q directions: 1/κ = Σ f_c w_c/(1 + w_c (q+1) κ), f_c = n_c - 1,
    w_c = p_c s_c/(s̄ f_c). ν/(ν-q-1), ν = N - K, for equal classes, exact for Gaussian noise;
    to first order in q/ν otherwise [approximation]."""
    if sample.freedom <= directions + 1:
        return float("inf")
    free = (sample.counts - 1).clamp_min(1)
    share = (sample.weights * sample.spreads / sample.within).detach()
    kappa = 1.0
    for _ in range(500):
        new = float(1 / (share / (1 + share / free * (directions + 1) * kappa)).sum())
        done = abs(new - kappa) <= 1e-13 * new
        kappa = new
        if done:
            break
    return kappa


def nc1_vci(sample: Sample) -> Float[Tensor, ...]:
    """(1/r) Σ 1/(1 + λ), λ the eigenvalues of Σ_W⁻¹Σ_B and r = min(q, K - 1).

    For Gaussian noise (F S⁻¹ Fᵀ)⁻¹ is Wishart with m = ν - q + r degrees about F Σ_W⁻¹ Fᵀ, so of
    F S⁻¹ Fᵀ the factor ν/m is taken, and then the noise of F. What curvature leaves is taken away
    to second order (`_curved`). Directions in which means differ and nothing varies count as 0.
    """
    _check_scatter(sample)
    sample.small()
    white, K = sample.white, sample.num_classes
    inside = white.rank
    kappa = inflation(sample, inside)
    if kappa > LARGEST_INFLATION:
        raise CannotTellError(
            f"N - K = {sample.freedom:.0f} samples beyond the means are fewer than 1.5 times the "
            f"{inside} directions that vary within classes"
        )
    if white.free is not None:
        if white.free.shape[1] == 0:
            return torch.zeros((), dtype=torch.float64)
        raise CannotTellError("in some directions means differ and nothing varies within classes")
    T = sample.through()
    nu = (inside + 1) * kappa / (kappa - 1) if kappa > 1 else float("inf")
    degrees = nu - inside + len(T)
    scale = 1.0 if kappa == 1 else nu / degrees
    lost = inside * kappa * sample.weights * sample.noise / sample.within
    left = sample.between_factor.left
    if inside < K - 1:
        noise = (lost * (1 - sample.weights)).sum() / inside
        lost_of = torch.eye(len(T), dtype=torch.float64) * noise
    else:
        lost_of = left.T @ (lost[:, None] * left)
    T = (T - lost_of) / scale
    half = torch.eye(len(T), dtype=torch.float64) / 2
    if int(torch.linalg.cholesky_ex(T.detach() + half).info):
        raise CannotTellError("some direction between classes is not told from noise")
    P = torch.cholesky_inverse(torch.linalg.cholesky(T + 2 * half))
    single = lost_of.diagonal().mean() / (inside * kappa)
    return (P.diagonal().sum() - _curved(P, 1 / degrees, single)) / len(P)


def _curved(P: Tensor, share: float, noise: Tensor) -> Tensor:
    """What noise in T adds to tr P, P = (I + T)⁻¹ with eigenvalues v, to second order: that of S,
    a Wishart matrix of 1/share degrees, and that of F, of variance `noise` in white coordinates."""
    first = P.diagonal().sum()
    second = (P**2).sum()
    third = ((P @ P) * P).sum()
    of_scatter = -share * ((second - third) + first * (first - second))
    of_means = 2 * (second - third) + first * (first - second) + (len(P) - first) * second
    return of_scatter + noise * of_means
