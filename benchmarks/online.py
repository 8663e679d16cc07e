"""What following costs beside a training step (forward, backward, SGD) of a ResNet-18."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.common import Options, Row, interleaved, median_ratio, wall
from ncollapse.sources.models import load_model
from ncollapse.tracking.tracker import Tracker

BATCH, SIDE, STEPS, EVERY = 128, 32, 2, 50
PROBE = 512


def run(options: Options) -> list[Row]:
    return [row for classes in (10, 100) for row in _rows(classes)]


def _rows(classes: int) -> list[Row]:
    model = load_model("torchvision:resnet18", num_classes=classes).model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(BATCH) % classes

    def train(follow: Callable[[Tensor], None]) -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            follow(labels)

    online = Tracker(model, online=True, every=10**9)
    train(online.step)

    def followed() -> None:
        assert online._online is not None
        online._online.listener.open()
        train(online.step)
        online.close()

    times = interleaved({"plain": lambda: train(lambda _: None), "online": followed}, repeats=15)
    step = min(times["plain"]) / STEPS
    # One step's statistics are near the clock's scatter between steps, so both are told: what the
    # whole step takes more, and what the calls take by themselves.
    more = median_ratio(times["online"], times["plain"]) - 1
    reading = sorted(wall(online.probe) for _ in range(9))[4]
    probe = Tracker(model, train=_probe(classes, generator), every=10**9)
    probe.probe()
    look = sorted(wall(probe.probe) for _ in range(3))[1]
    what = f"K={classes}"
    return [
        Row("online", f"{what}: statistics of every step", 100 * more, "%", None),
        Row(
            "online",
            f"{what}: with a reading every {EVERY} steps",
            100 * (more + reading / step / EVERY),
            "%",
            3,
        ),
        Row("online", f"{what}: one reading", 1000 * reading, "ms"),
        Row("online", f"{what}: training step", 1000 * step, "ms"),
        Row("online", f"{what}: one probe of {PROBE} images, in steps", look / step, ""),
    ]


def _probe(classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(PROBE, 3, SIDE, SIDE, generator=generator)
    return inputs, torch.arange(PROBE) % classes
