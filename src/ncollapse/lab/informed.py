"""What a collapsed network keeps of its inputs, about its own class means and about others."""

from __future__ import annotations

import torch
from torch import Tensor

from ncollapse.downstream.information import Information, information
from ncollapse.metrics.interpolation import Split

# Noise over the smallest distance between class means.
NOISE = 0.1


def informed(means: Tensor, residuals: Split) -> Information:
    """Information of residuals about any means, at NOISE times the smallest distance of means."""
    rows = means[residuals.labels] + residuals.rest
    return information(rows, residuals.labels, NOISE * _closest(means))


def _closest(means: Tensor) -> float:
    return float(torch.pdist(means).min())


def moved_means(means: Tensor, seed: int) -> Tensor:
    """Means stretched by e^±1 and moved by half their size, at the same smallest distance."""
    generator = torch.Generator().manual_seed(seed)
    centred = means - means.mean(0)
    stretch = (2 * torch.rand(len(means), 1, generator=generator, dtype=means.dtype) - 1).exp()
    drift = torch.randn(means.shape, generator=generator, dtype=means.dtype)
    size = float(centred.norm(dim=1).mean()) / 2
    found = centred * stretch + size * drift / means.shape[1] ** 0.5
    return found * (_closest(means) / _closest(found))


def off_entropy(found: Information) -> float:
    """How far the bounds on I(Z;X) are from H(Y), at most."""
    bounds = found.input
    return max(abs(bounds.lower - found.entropy), abs(bounds.upper - found.entropy))
