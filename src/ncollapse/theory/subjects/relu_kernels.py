"""Kernels of infinitely wide ReLU networks without biases: random features, and gradient descent.

With weights of variance 2/width the kernel of one more layer is, for θ = arccos of the correlation
ρ = k(x, x')/√(k(x, x) k(x', x')),

    k⁺ = √(k(x, x) k(x', x')) (sin θ + (π - θ) cos θ)/π,     k̇ = (π - θ)/π,

and the diagonal stays as it is. NNGP: k of the last hidden layer. Limiting NTK: Θ⁺ = k⁺ + Θ k̇ from
Θ = k of the inputs. Source: Cho & Saul 2009, Lee et al. 2018, Jacot et al. 2018 (remembered, not
read); checked against wide random networks.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def nngp(inputs: Any, depth: int = 1) -> Float[Tensor, "samples samples"]:
    """Kernel of the features after `depth` hidden ReLU layers, of inputs (N, d): xᵀx'/d at depth 0.

    Raises ValueError for inputs that are not (N, d) finite numbers, and a negative depth.
    """
    return _kernels(inputs, depth)[0]


def ntk(inputs: Any, depth: int = 1) -> Float[Tensor, "samples samples"]:
    """Limiting neural tangent kernel of a network with `depth` hidden ReLU layers and a linear
    read-out, of inputs (N, d). Raises ValueError as `nngp`."""
    return _kernels(inputs, depth)[1]


def _kernels(inputs: Any, depth: int) -> tuple[Tensor, Tensor]:
    X = torch.as_tensor(inputs).detach().to(torch.float64)
    if X.dim() != 2 or 0 in X.shape or not bool(X.isfinite().all()):
        raise ValueError(
            f"inputs have shape {tuple(X.shape)}; finite numbers (samples, dim) are needed"
        )
    if depth < 0:
        raise ValueError(f"depth={depth}; 0 or more hidden layers are needed")
    # Angles are taken from differences of unit rows, so that they are right for near inputs.
    kernel = X @ X.T / X.shape[1]
    kernel = (kernel + kernel.T) / 2
    size = kernel.diagonal().clamp_min(0).sqrt()
    scale = size[:, None] * size
    unit = X / torch.where(size > 0, size * math.sqrt(X.shape[1]), 1.0)[:, None]
    apart = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    angle = 2 * torch.asin((apart / 2).clamp_max(1))
    angle = torch.where(scale > 0, angle, math.pi / 2)
    tangent = kernel
    for _ in range(depth):
        slope = (math.pi - angle) / math.pi
        kernel = scale * (angle.sin() / math.pi + slope * angle.cos())
        kernel = (kernel + kernel.T) / 2
        tangent = kernel + tangent * slope
        angle = _next(angle)
    return kernel, (tangent + tangent.T) / 2


def _next(angle: Tensor) -> Tensor:
    """arccos of (sin θ + (π - θ) cos θ)/π; 1 less that is 2 sin²(θ/2) - (sin θ - θ cos θ)/π,
    whose second part is a series for small θ, and the angle is 2 arcsin √(half of it)."""
    plain = 2 * (angle / 2).sin() ** 2 - (angle.sin() - angle * angle.cos()) / math.pi
    # sin θ - θ cos θ = θ³/3 - θ⁵/30 + …: below .1 the series has all digits.
    t = angle**2
    series = angle**3 * (1 / 3 - t / 30 + t**2 / 840 - t**3 / 45360 + t**4 / 3991680)
    small = 2 * (angle / 2).sin() ** 2 - series / math.pi
    gap = torch.where(angle < 0.1, small, plain).clamp(0, 2)
    return 2 * (gap / 2).sqrt().clamp_max(1).asin()
