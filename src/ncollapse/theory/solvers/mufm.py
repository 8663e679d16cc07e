"""Stationary points of the multilayer model with optimal transport: layers in closed form, then W.

For given W the best last layer is, with rows as samples,

    H_L = (Y W + λ_H X)(WᵀW + λ_H I)⁻¹ = X + Rᵀ P W,   R = Yᵀ - W Xᵀ,  P = (W Wᵀ + λ_H I)⁻¹,

and what is left of the objective is a function of W alone,

    f(W) = (λ_H/2N) tr(P R Rᵀ) + (λ_W/2) ‖W‖²,   ∇f = -(λ_H/N) P (R H_L) + λ_W W,

that reads the samples through second moments only. It is minimised by quasi-Newton steps. f is
not convex: what is returned is a stationary point, and nothing is certified beyond that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ncollapse.theory.problems.mufm import MUFM

Array = NDArray[np.float64]
# Restarts of the quasi-Newton steps with fresh curvature, each as long as the gradient allows.
ROUNDS, STEPS = 20, 2000


@dataclass(frozen=True, eq=False)
class MUFMSolution:
    """A point of the model. weight: W (K, d). last: H_L (N, d).

    status: "stationary point, not certified", or "not converged" where the gradient stayed above
    the tolerance. gradient: largest entry, in size, of the gradient of the full
    objective, in W and every layer. objective: its value there. starts: the objective that each
    start ended at, the best first; equal ones are evidence for a global optimum, not proof.
    """

    problem: MUFM
    weight: Float[Tensor, "classes dim"]
    last: Float[Tensor, "samples dim"]
    objective: float
    gradient: float
    status: str
    starts: tuple[float, ...]

    @property
    def path(self) -> tuple[Tensor, ...]:
        """H_0 = X, H_1, …, H_L: equal steps on straight lines."""
        X, L = self.problem.features, self.problem.layers
        between = [torch.lerp(X, self.last, step / L) for step in range(1, L)]
        return (X, *between, self.last)

    @cached_property
    def directions(self) -> Float[Tensor, "rank dim"]:
        """Right singular vectors of W, the rows in order of falling singular value."""
        return torch.linalg.svd(self.weight, full_matrices=False).Vh

    @cached_property
    def shrink(self) -> Float[Tensor, " rank"]:
        """λ_H/(λ_H + s_j²) of the singular values s_j of W: what within-class residuals of the
        data are multiplied by along `directions` on the way to H_L. On the complement it is 1, so
        within-class variance never vanishes where the data have some there."""
        values = torch.linalg.svdvals(self.weight)
        price = self.problem.transport_decay
        return price / (price + values**2)


def solve_mufm(
    problem: MUFM, *, starts: int = 1, seed: int = 0, tolerance: float = 1e-8
) -> MUFMSolution:
    """A stationary point of the model, the best of `starts`.

    The first start is ridge regression of the labels on the data, which needs no seed; the others
    are Gaussian of its size, drawn by `seed`. tolerance: for the largest entry, in
    size, of the gradient of the full objective. Raises ValueError for starts < 1 and a tolerance
    that is not positive.
    """
    if starts < 1 or not tolerance > 0:
        raise ValueError(
            f"starts={starts}, tolerance={tolerance}; at least one start and a positive tolerance "
            "are needed"
        )
    reduced = _Reduced.of(problem)
    rng = np.random.default_rng(seed)
    first = reduced.ridge()
    drawn = [rng.normal(size=first.shape) * first.std() for _ in range(starts - 1)]
    found = sorted(
        (_descended(reduced, start, tolerance) for start in (first, *drawn)), key=lambda end: end[0]
    )
    weight = torch.from_numpy(found[0][1])
    last = last_layer(problem, weight)
    value, gradient = _full(problem, weight, last)
    status = "stationary point, not certified" if gradient <= tolerance else "not converged"
    ends = tuple(end[0] for end in found)
    return MUFMSolution(problem, weight, last, value, gradient, status, ends)


def last_layer(problem: MUFM, weight: Float[Tensor, "classes dim"]) -> Float[Tensor, "samples dim"]:
    """The best H_L for W: X + Rᵀ P W, one K × K system; whole in the complement of W's rows."""
    X, Y, price = problem.features, problem.targets, problem.transport_decay
    inner = weight @ weight.T + price * torch.eye(len(weight), dtype=weight.dtype)
    return X + torch.linalg.solve(inner, (Y - X @ weight.T).T).T @ weight


@dataclass(frozen=True, eq=False)
class _Reduced:
    """f and its gradient from moments over N: of the data, of labels and data, of labels."""

    data: Array
    cross: Array
    labels: Array
    weight_decay: float
    price: float

    @classmethod
    def of(cls, problem: MUFM) -> _Reduced:
        X, Y, N = problem.features.numpy(), problem.targets.numpy(), problem.num_samples
        return cls(
            X.T @ X / N, Y.T @ X / N, Y.T @ Y / N, problem.weight_decay, problem.transport_decay
        )

    def ridge(self) -> Array:
        """W of the untouched data: Yᵀ X (XᵀX + N λ_W I)⁻¹."""
        square = self.data + self.weight_decay * np.eye(len(self.data))
        return np.asarray(np.linalg.solve(square, self.cross.T).T)

    def value_and_slope(self, flat: Array) -> tuple[float, Array]:
        W = flat.reshape(self.cross.shape)
        toward = self.cross - W @ self.data
        square = self.labels - W @ self.cross.T - toward @ W.T
        inner = W @ W.T + self.price * np.eye(len(W))
        seen = np.linalg.solve(inner, square)
        value = self.price * np.trace(seen) / 2 + self.weight_decay * (W**2).sum() / 2
        ahead = toward + square @ np.linalg.solve(inner, W)
        slope = self.weight_decay * W - self.price * np.linalg.solve(inner, ahead)
        return float(value), slope.ravel()


def _descended(reduced: _Reduced, start: Array, tolerance: float) -> tuple[float, Array]:
    from scipy.optimize import minimize

    flat = start.ravel()
    for _ in range(ROUNDS):
        found = minimize(
            reduced.value_and_slope,
            flat,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": STEPS, "maxcor": 40, "ftol": 0.0, "gtol": tolerance / 10},
        )
        flat = found.x
        # Rounding ends a line search early; fresh curvature often goes on from there.
        if np.abs(found.jac).max() <= tolerance / 10 or found.nit <= 1:
            break
    return float(found.fun), flat.reshape(start.shape)


def _full(problem: MUFM, weight: Tensor, last: Tensor) -> tuple[float, float]:
    """Value and largest gradient entry of the full objective at W and the straight path to H_L."""
    X, L = problem.features, problem.layers
    layers = [torch.lerp(X, last, step / L) for step in range(1, L)] + [last]
    parts = [part.clone().requires_grad_() for part in (weight, *layers)]
    value = problem.objective(parts[0], parts[1:])
    slopes = torch.autograd.grad(value, parts)
    return float(value.detach()), max(float(slope.abs().max()) for slope in slopes)
