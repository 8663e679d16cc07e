"""Narrow the last residual block of a ResNet, so that its features are as wide as a head needs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The convolution that ends each kind of block, with its normalisation.
LAST = {"BasicBlock": ("conv2", "bn2"), "Bottleneck": ("conv3", "bn3")}


def narrow_last_block(model: nn.Module, head: str, width: int, seed: int) -> str | None:
    """Let the last block of a torchvision or timm ResNet put out `width` channels.

    Its last convolution and normalisation are made anew for `width` channels, and the shortcut
    becomes (or its convolution is cut to) a 1 × 1 convolution with normalisation. Returns the
    block's name; None, with nothing changed, where the model is no such ResNet.
    """
    found = _last_block(model, head)
    if found is None:
        return None
    name, block = found
    conv_name, norm_name = LAST[type(block).__name__]
    conv, norm = getattr(block, conv_name), getattr(block, norm_name)
    generator = torch.Generator().manual_seed(seed)
    setattr(block, conv_name, _convolution(conv, conv.in_channels, width, generator))
    setattr(block, norm_name, _normalisation(norm, width))
    shortcut = block.downsample
    if not isinstance(shortcut, nn.Module):
        first = block.conv1
        assert isinstance(first, nn.Conv2d)
        entering = first.in_channels
        block.downsample = nn.Sequential(
            _convolution(conv, entering, width, generator, pointwise=True),
            _normalisation(norm, width),
        ).train(block.training)
    else:
        for place, part in list(shortcut.named_children()):
            if isinstance(part, nn.Conv2d):
                made: nn.Module = _convolution(part, part.in_channels, width, generator)
            elif isinstance(part, nn.BatchNorm2d):
                made = _normalisation(part, width)
            else:
                continue
            setattr(shortcut, place, made)
    for attribute in ("num_features", "head_hidden_size"):
        # timm keeps the width beside the model.
        if isinstance(getattr(model, attribute, None), int):
            setattr(model, attribute, width)
    return name


def _last_block(model: nn.Module, head: str) -> tuple[str, nn.Module] | None:
    """The block before pooling and head, where its parts are all known."""
    stage = getattr(model, "layer4", None)
    if head != "fc" or not isinstance(stage, nn.Sequential) or not len(stage):
        return None
    block = stage[-1]
    names = LAST.get(type(block).__name__)
    if names is None or not hasattr(block, "downsample"):
        return None
    conv, norm = (getattr(block, name, None) for name in names)
    plain = (
        isinstance(conv, nn.Conv2d)
        and isinstance(norm, nn.BatchNorm2d)
        and conv.groups == 1
        and conv.out_channels == getattr(model.get_submodule(head), "in_features", None)
    )
    shortcut = block.downsample
    known = shortcut is None or (
        isinstance(shortcut, nn.Sequential)
        and any(isinstance(part, nn.Conv2d) for part in shortcut)
    )
    # Attention over channels was made for the old width.
    if not plain or not known or getattr(block, "se", None) is not None:
        return None
    return f"layer4.{len(stage) - 1}", block


def _convolution(
    like: nn.Conv2d,
    entering: int,
    leaving: int,
    generator: torch.Generator,
    pointwise: bool = False,
) -> nn.Conv2d:
    """A convolution as `like` with other widths, drawn by an own generator (He et al. 2015)."""
    weight = like.weight
    made: nn.Conv2d = nn.utils.skip_init(
        nn.Conv2d,
        entering,
        leaving,
        1 if pointwise else like.kernel_size,
        stride=1 if pointwise else like.stride,
        padding=0 if pointwise else like.padding,
        dilation=1 if pointwise else like.dilation,
        bias=like.bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    )
    with torch.no_grad():
        made.weight.copy_(_he_normal(made.weight.shape, generator))
        if made.bias is not None:
            made.bias.zero_()
    return made.train(like.training)


def _he_normal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    fan_out = shape[0] * shape[2] * shape[3]
    return torch.randn(shape, generator=generator) * (2 / fan_out) ** 0.5


def _normalisation(like: nn.BatchNorm2d, width: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(width, like.eps, like.momentum, like.affine, like.track_running_stats)
    weight = like.weight if like.affine else None
    if weight is not None:
        made = made.to(device=weight.device, dtype=weight.dtype)
    return made.train(like.training)
