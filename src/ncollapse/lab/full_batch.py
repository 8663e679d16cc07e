"""Training on all samples at once, with Adam and a rate that falls like a cosine to zero."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncollapse.lab.compared import KEYS
from ncollapse.lab.data import Dataset
from ncollapse.lab.networks import read
from ncollapse.lab.train import LOSSES
from ncollapse.measuring.gufm_gap import gufm_gap
from ncollapse.metrics.catalog import METRICS


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


def gap_row(
    model: nn.Sequential, data: Dataset, weight_decay: float, *, steps: int, learning_rate: float
) -> dict[str, float]:
    """A model with a `head` trained so with cross-entropy, and read: decay; nc1 (tr Σ_W / tr Σ_B of
    what enters the head), NC2 and NC3 by key; error; with a final `norm` also gap (`gufm_gap`),
    blocks (its part from the decay of blocks) and optimum."""
    train_full_batch(
        model, data.train_x, data.train_y, weight_decay, steps=steps, learning_rate=learning_rate
    )
    geometry, nc1 = read(model, data)
    found = {"decay": weight_decay, "nc1": nc1}
    found |= {key: float(METRICS[key].evaluate(geometry=geometry)) for key in KEYS}
    with torch.no_grad():
        wrong = model(data.train_x).argmax(1) != data.train_y
    found["error"] = float(wrong.double().mean())
    if not isinstance(model.get_submodule("norm"), nn.Identity):
        gap = gufm_gap(model, data.train_x, data.train_y, weight_decay)
        found |= {"gap": gap.gap, "blocks": gap.rest_decay, "optimum": gap.optimum}
    return found
