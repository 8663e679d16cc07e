"""What following costs beside a training step (forward, backward, SGD) of a ResNet-18."""

from __future__ import annotations

from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.common import Options, Row, interleaved, median_ratio, wall
from ncollapse.sources.specs.models import load_model
from ncollapse.tracking.tracker import Tracker

BATCH, SIDE, WIDTH = 128, 32, 512
# Steps differ by some 5 % among each other: the median of 101 is known to about half a per cent.
REPEATS, EVERY, PROBE = 101, 50, 512


def run(options: Options) -> list[Row]:
    return [row for classes in (10, 100) for row in _rows(classes)]


def _rows(classes: int) -> list[Row]:
    model = load_model("torchvision:resnet18", num_classes=classes).model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(BATCH) % classes
    online = Tracker(model, online=True, every=10**9)
    follower = online._online
    assert follower is not None

    def train() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    def plain() -> None:
        follower.close()
        train()

    def followed() -> None:
        follower.passes.open()
        train()
        online.step(labels)

    # Steps take turns, so that a machine that slows down slows down both.
    times = interleaved({"plain": plain, "online": followed}, repeats=REPEATS)
    more = median_ratio(times["online"], times["plain"]) - 1
    step = median(times["plain"])
    features = torch.randn(BATCH, WIDTH, generator=generator)
    moments = follower.moments["head"]
    alone = min(wall(lambda: moments.update(features, labels)) for _ in range(REPEATS))
    reading = median(wall(online.probe) for _ in range(9))
    online.close()
    probe = Tracker(model, train=_probe(classes, generator), every=10**9)
    probe.probe()
    look = median(wall(probe.probe) for _ in range(3))
    spread = reading / step / EVERY
    what = f"K={classes}"
    return [
        Row(
            "online", f"{what}: a followed step, read every {EVERY}", 100 * (more + spread), "%", 3
        ),
        Row("online", f"{what}: training step", 1000 * step, "ms"),
        Row("online", f"{what}: statistics of one batch alone", 1000 * alone, "ms"),
        Row("online", f"{what}: one reading", 1000 * reading, "ms"),
        Row("online", f"{what}: one probe of {PROBE} images", look / step, "steps"),
    ]


def _probe(classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(PROBE, 3, SIDE, SIDE, generator=generator)
    return inputs, torch.arange(PROBE) % classes
