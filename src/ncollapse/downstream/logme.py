"""LogME, exact: the largest evidence of a linear model on target features.

    w ~ N(0, I/α), y | F ~ N(F w, I/β), F (n, D) of rank k with squared singular values s_i

Per class y is 1 for its samples and 0 for the others, without an intercept. With τ = β/α the best
noise is known, 1/β = yᵀK⁻¹y/n for K = I + τ F Fᵀ, and one bounded search over log τ is left:

    evidence(τ) = -½ (1 + log(2π yᵀK⁻¹y/n)) - (1/2n) Σ_i log(1 + τ s_i)

Only k enters, not D: columns of zeros change nothing. The common code keeps D/2 log α where k/2
belongs, which moves the number wherever k < D, and by much where n < D. τ = 0 (features say
nothing) and τ → ∞ (interpolation) are limits that the search reaches.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.downstream.transferability import checked

Spectrum = tuple[Float[Tensor, "samples rank"], Float[Tensor, " rank"]]
# The grid in log(τ s_max), of which the best point is then refined.
LOW, HIGH, STEPS = -14.0, 30.0, 221


def logme(features: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"]) -> float:
    """Log maximum evidence a sample, mean over the classes present; the larger the better.

    Invariant under rotation and scale of the features and under columns of zeros; not under
    centring, since the model has no intercept. Raises ValueError for one class, shapes that
    disagree, features that are not finite or all zero. Source: You et al. 2021, with the term of
    the rank that its public code leaves out.
    """
    wide, place, K = checked(features, labels)
    basis = _spectrum(wide)
    each = [log_evidence(basis, (place == k).to(torch.float64)) for k in range(K)]
    return sum(each) / K


def _spectrum(rows: Tensor) -> Spectrum:
    left, values, _ = torch.linalg.svd(rows, full_matrices=False)
    cut = float(values[0]) * max(rows.shape) * torch.finfo(torch.float64).eps
    kept = values > cut
    if not bool(kept.any()):
        raise ValueError("all target features are zero; there is no evidence to maximise")
    return left[:, kept], values[kept] ** 2


def log_evidence(basis: Spectrum, target: Float[Tensor, " samples"]) -> float:
    """Largest log evidence a sample of one target, given left singular vectors and squared singular
    values of the features."""
    from scipy.optimize import minimize_scalar

    left, sizes = basis
    n = target.numel()
    inside = (left.T @ target) ** 2
    rest = max(float(target @ target - inside.sum()), 0.0)

    def lost(log_tau: float) -> float:
        """Minus the evidence; infinite where no noise is left."""
        scale = math.exp(log_tau) * sizes
        noise = float((inside / (1 + scale)).sum()) + rest
        if noise <= 0:
            return math.inf
        spread = float(torch.log1p(scale).sum())
        return 0.5 * (1 + math.log(2 * math.pi * noise / n)) + 0.5 * spread / n

    start = math.log(float(sizes.max()))
    grid = [LOW + (HIGH - LOW) * i / (STEPS - 1) - start for i in range(STEPS)]
    best = min(range(STEPS), key=lambda i: lost(grid[i]))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, STEPS - 1)]
    found = minimize_scalar(lost, bounds=ends, method="bounded", options={"xatol": 1e-10})
    return -float(found.fun)
