"""Small networks that studies train; the last Linear is always called `head`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import nn

from ncollapse.collect.tap.preserve import evaluating


def mlp(
    num_features: int,
    widths: Sequence[int],
    num_classes: int,
    *,
    batch_norm: bool = True,
    layer_norm: bool = False,
    activation: Callable[[], nn.Module] = nn.ReLU,
    bias: bool = True,
    last_relu: bool = True,
    seed: int = 0,
) -> nn.Sequential:
    """Linear, BatchNorm or LayerNorm (optional) and ReLU, or another `activation`, per width, then
    `head`. Without `last_relu`, the last activation, the features that enter the head may be
    negative, as theory's free features are. The global random state is left as it was."""
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
            elif layer_norm:
                layers[f"norm{number}"] = nn.LayerNorm(width)
            if last_relu or number + 1 < len(widths):
                layers[f"relu{number}"] = activation()
            before = width
        layers["head"] = nn.Linear(before, num_classes, bias=bias)
        return nn.Sequential(layers)


def conv(
    num_classes: int,
    channels: Sequence[int] = (32, 64, 128),
    *,
    side: int = 8,
    seed: int = 0,
) -> nn.Sequential:
    """Convolutions with BatchNorm and ReLU on flat images of side × side pixels, halving the side
    after the first, then an average over places and `head`. The global random state is left as it
    was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["image"] = nn.Unflatten(1, (1, side, side))
        before = 1
        for number, width in enumerate(channels):
            stride = 2 if number else 1
            layers[f"conv{number}"] = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
            layers[f"norm{number}"] = nn.BatchNorm2d(width)
            layers[f"relu{number}"] = nn.ReLU()
            before = width
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flat"] = nn.Flatten()
        layers["head"] = nn.Linear(before, num_classes)
        return nn.Sequential(layers)


def topped(
    body: nn.Module, num_features: int, num_classes: int, *, bias: bool = False, seed: int = 0
) -> nn.Sequential:
    """`body`, which gives features (samples, num_features), and `head`. The global random state is
    left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        top = nn.Linear(num_features, num_classes, bias=bias)
    return nn.Sequential(OrderedDict(body=body, head=top))


def penultimate(model: nn.Sequential, inputs: torch.Tensor) -> torch.Tensor:
    """What enters the head of a model of this file, in eval mode; the mode is restored."""
    with evaluating(model), torch.no_grad():
        return torch.Tensor(model[:-1](inputs)).clone()
