"""What reading features costs beside the forward pass itself, on a ResNet-18."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.common import Options, Row, interleaved, median_ratio
from ncollapse.collect.keep.cache import FeatureCache
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import Taps
from ncollapse.sources.specs.models import load_model

BATCH, BATCHES, SIDE, CLASSES = 128, 2, 32, 10


def run(options: Options) -> list[Row]:
    model = load_model("torchvision:resnet18", num_classes=CLASSES).model.eval()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCH * BATCHES, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(BATCH * BATCHES) % CLASSES

    def forward() -> None:
        with torch.inference_mode():
            for start in range(0, labels.numel(), BATCH):
                model(inputs[start : start + BATCH])

    times = interleaved(
        {
            "forward": forward,
            "head": lambda: _capture(model, inputs, labels, None),
            "blocks": lambda: _capture(model, inputs, labels, "layer*.*"),
        },
        repeats=11,
    )
    what = f"{BATCHES} × {BATCH} images of {SIDE} × {SIDE}"
    head, blocks = (median_ratio(times[name], times["forward"]) - 1 for name in ("head", "blocks"))
    return [
        Row("capture", f"the head beside the forward pass, {what}", 100 * head, "%", 5),
        Row("capture", "the head and all eight blocks, pooled", 100 * blocks, "%", 50),
    ]


def _capture(model: nn.Module, inputs: Tensor, labels: Tensor, layers: str | None) -> None:
    """Find and check the head, pool, and keep every feature."""
    stream = ModelStream(Taps(model, layers), {"train": (inputs, labels)}, batch_size=BATCH)
    with FeatureCache() as cache:
        cache.fill(stream)
