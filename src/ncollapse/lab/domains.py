"""Digits in several domains, and a network whose features an adversary tells apart the less."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.lab.models import mlp

CLASSES, SIDE = 10, 8


def turned(images: Tensor, degrees: float) -> Tensor:
    """Flat images (samples, 64) turned about their middle, between pixels linearly."""
    angle = math.radians(degrees)
    rows = [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]]
    square = images.view(-1, 1, SIDE, SIDE)
    turn = torch.tensor(rows).expand(len(images), 2, 3)
    grid = functional.affine_grid(turn, list(square.shape), align_corners=False)
    return functional.grid_sample(square, grid, align_corners=False).flatten(1)


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return -ctx.strength * grads[0], None


class Adversarial(nn.Module):
    """Logits of classes, then of domains; from the domains' the gradient comes back reversed."""

    def __init__(self, inner: int, widths: Sequence[int], domains: int, strength: float, seed: int):
        super().__init__()
        whole = mlp(inner, widths, CLASSES, seed=seed)
        self.body, self.head, self.strength = whole[:-1], whole[-1], strength
        self.adversary = mlp(widths[-1], [64], domains, batch_norm=False, seed=seed + 1)

    def forward(self, inputs: Tensor) -> Tensor:
        rows = self.body(inputs)
        told: Tensor = self.adversary(_Reversed.apply(rows, self.strength))  # type: ignore[no-untyped-call]
        return torch.cat([self.head(rows), told], 1)
