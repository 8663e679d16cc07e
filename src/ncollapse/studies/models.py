"""Small networks that studies train; the last Linear is always called `head`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn


def mlp(
    num_features: int,
    widths: Sequence[int],
    num_classes: int,
    *,
    batch_norm: bool = True,
    bias: bool = True,
    last_relu: bool = True,
    seed: int = 0,
) -> nn.Sequential:
    """Linear, BatchNorm (optional) and ReLU per width, then `head`. Without `last_relu` the
    features that enter the head may be negative, as theory's free features are. The global random
    state is left as it was."""
    if not widths:
        raise ValueError("widths is empty; at least one hidden layer is needed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before = num_features
        for number, width in enumerate(widths):
            layers[f"linear{number}"] = nn.Linear(before, width)
            if batch_norm:
                layers[f"norm{number}"] = nn.BatchNorm1d(width)
            if last_relu or number + 1 < len(widths):
                layers[f"relu{number}"] = nn.ReLU()
            before = width
        layers["head"] = nn.Linear(before, num_classes, bias=bias)
        return nn.Sequential(layers)


def penultimate(model: nn.Sequential, inputs: torch.Tensor) -> torch.Tensor:
    """What enters the head of a model of this file, in eval mode; the mode is restored."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return torch.Tensor(model[:-1](inputs)).clone()
    finally:
        model.train(training)
