"""What holding a run against its laws costs: of a training step, and of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.common import Options, Row, interleaved, median_ratio, wall
from ncollapse.downstream.views import View
from ncollapse.losses import CrossEntropy
from ncollapse.sources.specs.models import load_model
from ncollapse.tracking import certifying
from ncollapse.tracking.certifying import Certify
from ncollapse.tracking.head_law import HeadSum
from ncollapse.tracking.head_path import CHUNK

SIDE, REPEATS = 32, 41
# Steps and hooks are timed this many at once: a hook alone is below what a clock tells.
MANY = 4 * CHUNK
# Samples of the pass of a look that is timed.
PASSED = 20_000


def run(options: Options) -> list[Row]:
    small = _small(10).train()
    large = load_model("torchvision:resnet18", num_classes=10).model.train()
    wide = load_model("torchvision:resnet18", num_classes=1000).model.train()
    return [
        *_law("small CNN, batch 128, K=10", small, 128),
        *_law("ResNet-18, batch 32, K=10", large, 32),
        *_law("ResNet-18, batch 32, K=1000", wide, 32),
        *_certified("ResNet-18, 64 x 64", wide, 512, 32, 64),
        *_certified("small CNN, 32 x 32", _small(1000).train(), 64, 128, 32),
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


def _certified(what: str, model: nn.Module, dim: int, batch: int, side: int) -> list[Row]:
    """A look of `certify` over all training samples, over the epoch that it follows.

    Nothing of either is long enough to be measured whole: the epoch is its number of training
    steps (forward, backward, SGD; no loading of images), and the look its pass over features, by
    the sample, with the singular values and solutions of a first look at these counts, later ones
    being cheaper. Steps and looks are timed in turn.
    """
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(batch, 3, side, side, generator=generator)
    targets = torch.arange(batch)

    def train() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()

    # Class means that the head points to, half of the way to collapse.
    means = torch.randn(1000, dim, generator=generator)
    labels = torch.arange(PASSED) % 1000
    features = means[labels] + torch.randn(PASSED, dim, generator=generator)
    weight, loss = 6 * means / dim, CrossEntropy()
    view = View("train", "head", features, labels, None, weight, torch.zeros(1000))
    seen = certifying.summed(view, loss)
    rows = []
    for name, counts in _counts().items():
        number = float(counts.sum())
        share = number / PASSED
        sums = seen[0] * share, seen[1] * share, seen[2] * (1000 / PASSED) * counts[:, None]

        def first(counts: Tensor = counts, sums: certifying.Sums = sums) -> None:
            known, floor = Certify()._floor("train", tuple(counts.long().tolist()), True)
            certifying._told(view, sums, counts, known, floor)

        times = interleaved(
            {"step": train, "pass": lambda: certifying.summed(view, loss), "first": first},
            repeats=max(3, min(9, int(4 / wall(train)))),
        )
        steps, passes = number / batch, number / PASSED
        epoch, look = steps * median(times["step"]), passes * median(times["pass"])
        bar = 1.0 if "ResNet" in what else None
        said = f"certify, {what}, K=1000, {name}"
        whole = 100 * (look + median(times["first"])) / epoch
        rows.append(Row("laws", f"{said}: of an epoch", whole, "%", bar))
        rows.append(Row("laws", f"{said}: first solutions", median(times["first"]), "s"))
        rows.append(Row("laws", f"{said}: pass, a sample", 1e6 * look / number, "us"))
        rows.append(Row("laws", f"{said}: step, a sample", 1e6 * epoch / number, "us"))
    return rows


def _counts() -> dict[str, Tensor]:
    """1,000 classes: alike; most alike, as in ImageNet; and from 1,280 to 5 samples."""
    order = torch.arange(1000, dtype=torch.float64)
    most = torch.where(order < 895, 1300, 732 + (568 * (order - 895) / 105).round())
    tail = (1280 * (5 / 1280) ** (order / 999)).round()
    return {
        "balanced": torch.full((1000,), 1281.0).double(),
        "as ImageNet": most,
        "long tail": tail,
    }


def _repeats(train: Callable[[], None]) -> int:
    """Some seconds of steps."""
    return max(5, min(REPEATS, int(8 / wall(train))))
