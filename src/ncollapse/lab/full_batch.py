"""Training on all samples at once, with Adam and a rate that falls like a cosine to zero."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncollapse.lab.train import LOSSES


def train_full_batch(
    model: nn.Module,
    inputs: Float[Tensor, "samples ..."],
    labels: Int[Tensor, " samples"],
    weight_decay: float,
    *,
    steps: int,
    learning_rate: float = 5e-3,
    loss: str = "ce",
) -> None:
    """Adam on mean loss + λ/2 ‖θ‖², all parameters decayed, rate η (1 + cos(π t/T))/2; in place,
    left in eval mode. The decay enters the gradient, so that the objective is the one that is
    descended. Raises ValueError for fewer than one step and an unknown loss."""
    if steps < 1 or loss not in LOSSES:
        raise ValueError(f"steps={steps}, loss={loss!r}; at least 1 and one of {list(LOSSES)}")
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, learning_rate, weight_decay=weight_decay, fused=True)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad(set_to_none=True)
        LOSSES[loss](model(inputs), labels).backward()
        optimizer.step()
    model.eval()
