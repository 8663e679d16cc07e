"""What holding a run against its laws costs: of a training step, and of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from benchmarks.common import Options, Row, interleaved, median_ratio, wall
from ncollapse.sources.specs.models import load_model
from ncollapse.tracking.head_law import HeadSum
from ncollapse.tracking.head_path import CHUNK

SIDE, REPEATS = 32, 41
# Steps and hooks are timed this many at once: a hook alone is below what a clock tells.
MANY = 4 * CHUNK


def run(options: Options) -> list[Row]:
    small = _small(10).train()
    large = load_model("torchvision:resnet18", num_classes=10).model.train()
    wide = load_model("torchvision:resnet18", num_classes=1000).model.train()
    return [
        *_law("small CNN, batch 128, K=10", small, 128),
        *_law("ResNet-18, batch 32, K=10", large, 32),
        *_law("ResNet-18, batch 32, K=1000", wide, 32),
    ]


def _small(classes: int) -> nn.Sequential:
    """Three convolutions, 64 channels at the end."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes),
    )  # fmt: skip


def _law(what: str, model: nn.Module, batch: int) -> list[Row]:
    """The hooks of the law alone, over the step that they stand around.

    The difference of two steps is below their own spread, so the hooks are timed by themselves: in
    the same run, on the same weights and gradients, batches of comparisons included.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, 3, SIDE, SIDE, generator=generator)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    labels = torch.arange(batch) % linear.out_features

    def train() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    train()
    law = HeadSum(model, optimizer)

    def hooks() -> None:
        for _ in range(MANY):
            law._before()
            law._after()
            law.waited()

    times = interleaved({"step": train, "hooks": hooks}, repeats=_repeats(train))
    assert law.reading().answer == "agrees" or law.steps
    law.close()
    share = 100 * median_ratio(times["hooks"], times["step"]) / MANY
    return [
        Row("laws", f"{what}: the sum's law, of a step", share, "%", 0.5),
        Row("laws", f"{what}: training step", 1e3 * median(times["step"]), "ms"),
        Row("laws", f"{what}: the law alone", 1e6 * median(times["hooks"]) / MANY, "us"),
    ]


def _repeats(train: Callable[[], None]) -> int:
    """Some seconds of steps."""
    return max(5, min(REPEATS, int(8 / wall(train))))
