"""Residual networks of any size in the layout that `ncollapse.control.fix_head` knows.

Names and shapes are those of torchvision's (conv1 … layer4, fc), so parameter counts are theirs;
torchvision itself is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(entering, width, stride)

    def forward(self, images: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(images)))
        inner = self.bn2(self.conv2(inner))
        beside = images if self.downsample is None else self.downsample(images)
        return functional.relu(inner + beside)


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 and 1 × 1 convolutions, four times as wide at the end, and a shortcut."""

    expansion = 4

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _shortcut(entering, 4 * width, stride)

    def forward(self, images: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(images)))
        inner = functional.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        beside = images if self.downsample is None else self.downsample(images)
        return functional.relu(inner + beside)


def _shortcut(entering: int, leaving: int, stride: int) -> nn.Sequential | None:
    if entering == leaving and stride == 1:
        return None
    convolution = nn.Conv2d(entering, leaving, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(leaving))


class ResNet(nn.Module):
    """Stem, four stages (strides 1, 2, 2, 2), an average over places, and `fc`.

    large: the 7 × 7 stem with stride 2 and pooling; otherwise 3 × 3 with stride 1. Flat inputs are
    read as square images of one channel. seed: of the weights; the global random state is left as
    it was.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        *,
        channels: int = 3,
        large: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = widths[0]
            if large:
                self.conv1 = nn.Conv2d(channels, before, 7, 2, padding=3, bias=False)
            else:
                self.conv1 = nn.Conv2d(channels, before, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(before)
            self.pool = nn.MaxPool2d(3, 2, padding=1) if large else nn.Identity()
            for number, (depth, width) in enumerate(zip(depths, widths, strict=True)):
                stage = nn.Sequential()
                for place in range(depth):
                    stride = 2 if number and not place else 1
                    stage.append(block(before, width, stride))
                    before = width * block.expansion
                self.add_module(f"layer{number + 1}", stage)
            self.fc = nn.Linear(before, num_classes)

    def forward(self, inputs: Float[Tensor, "samples ..."]) -> Float[Tensor, "samples classes"]:
        if inputs.dim() == 2:
            side = round(inputs.shape[1] ** 0.5)
            inputs = inputs.unflatten(1, (1, side, side))
        images = self.pool(functional.relu(self.bn1(self.conv1(inputs))))
        for number in range(1, 5):
            images = self.get_submodule(f"layer{number}")(images)
        return torch.as_tensor(self.fc(images.mean((2, 3))))


def resnet18(num_classes: int, seed: int = 0) -> ResNet:
    """11,181,642 parameters for 10 classes. Source: He et al. 2016."""
    return ResNet(BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512), num_classes, seed=seed)


def resnet50(num_classes: int, seed: int = 0) -> ResNet:
    """Source: He et al. 2016."""
    return ResNet(Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512), num_classes, seed=seed)


def small_resnet(num_classes: int, width: int = 16, seed: int = 0) -> ResNet:
    """For digits: one block a stage, widths w, 2w, 4w, 8w, stem 3 × 3."""
    widths = (width, 2 * width, 4 * width, 8 * width)
    return ResNet(BasicBlock, (1, 1, 1, 1), widths, num_classes, channels=1, large=False, seed=seed)
