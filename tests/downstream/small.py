"""A small classifier of inputs in [0, 1] that attacks are tried on, the same every time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.models import built, seeded

K, WIDE = 3, 5


def small() -> nn.Sequential:
    """Smooth, so that other arithmetic gives the same steps; head called by its number."""

    def make() -> nn.Sequential:
        rest = (nn.Tanh(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, K))
        return nn.Sequential(nn.Linear(WIDE, 12), *rest)

    model = seeded(built(make), seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.eval()


def batch(samples: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs in [0, 1], some at its ends, and labels that take turns."""
    generator = torch.Generator().manual_seed(seed)
    inputs = (1.4 * torch.rand(samples, WIDE, generator=generator) - 0.2).clamp(0, 1)
    return inputs, torch.arange(samples) % K
