"""Brute force: every sample's feature a free variable, nothing known of the answer's shape.

L-BFGS by scipy with gradients by torch, then Newton's method on the dense Hessian (pseudo-inverse:
rotations of feature space change nothing), float64, the best of several random starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from ncollapse.theory.problems import LPM, UFM


@dataclass
class Trained:
    value: float
    weight: torch.Tensor
    features: torch.Tensor
    means: torch.Tensor
    bias: torch.Tensor | None
    gradient: float

    @property
    def grams(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.weight @ self.weight.T, self.means @ self.means.T


def train(problem: UFM | LPM, *, width: int | None = None, seeds: int = 2) -> Trained:
    """The lowest of `seeds` runs at width d (default K + 1)."""
    K, N = problem.num_classes, problem.num_samples
    d = width or K + 1
    labels = torch.repeat_interleave(torch.arange(K), torch.tensor(problem.counts))
    counts = torch.tensor(problem.counts, dtype=torch.float64)
    with_bias = isinstance(problem, UFM) and problem.bias_decay is not None

    def parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        W, H = x[: K * d].reshape(K, d), x[K * d : K * d + N * d].reshape(N, d)
        b = x[K * d + N * d :] if with_bias else None
        if isinstance(problem, LPM):
            W = W * (K * problem.weight_energy) ** 0.5 / W.norm()
            energy = ((H**2).sum(1) / counts[labels]).sum()
            H = H * (K * problem.feature_energy / energy) ** 0.5
        return W, H, b

    def objective(x: torch.Tensor) -> torch.Tensor:
        W, H, b = parts(x)
        logits = H @ W.T if b is None else H @ W.T + b
        value = problem.loss(logits, labels).mean()
        if isinstance(problem, UFM):
            value = value + problem.weight_decay / 2 * (W**2).sum()
            value = value + problem.feature_decay / 2 * (H**2).sum()
            if b is not None and problem.bias_decay:
                value = value + problem.bias_decay / 2 * (b**2).sum()
        return value

    best = None
    for seed in range(seeds):
        start = 0.3 * np.random.default_rng(seed).standard_normal((K + N) * d + K * with_bias)
        x = _newton(objective, _lbfgs(objective, start))
        value = float(objective(x))
        if best is None or value < best.value - 1e-14:
            W, H, b = parts(x)
            means = torch.stack([H[labels == k].mean(0) for k in range(K)])
            slope = float(torch.func.grad(objective)(x).abs().max())
            best = Trained(value, W, H, means, b, slope)
    assert best is not None
    return best


def _lbfgs(objective: Callable[[torch.Tensor], torch.Tensor], start: np.ndarray) -> torch.Tensor:
    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.tensor(flat, requires_grad=True)
        value = objective(x)
        (slope,) = torch.autograd.grad(value, x)
        return float(value.detach()), slope.numpy()

    options = {"maxiter": 3000, "maxfun": 6000, "ftol": 1e-16, "gtol": 1e-8, "maxcor": 30}
    return torch.from_numpy(
        minimize(both, start, jac=True, method="L-BFGS-B", options=options).x.copy()
    )


def _newton(
    objective: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, rounds: int = 12
) -> torch.Tensor:
    slope_of, bend_of = torch.func.grad(objective), torch.func.hessian(objective)
    for _ in range(rounds):
        slope = slope_of(x)
        if slope.abs().max() < 1e-14:
            break
        values, axes = torch.linalg.eigh(bend_of(x))
        along = axes.T @ slope
        keep = values > 1e-9 * values.max()
        step = axes @ torch.where(keep, along / values.clamp(min=1e-300), torch.zeros_like(along))
        if slope_of(x - step).abs().max() >= slope.abs().max():
            break
        x = x - step
    return x
