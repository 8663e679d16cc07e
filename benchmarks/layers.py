"""What reading all convolutions of a ResNet-18 costs beside its forward pass, all included."""

from __future__ import annotations

import resource

import torch
from torch import nn

from benchmarks.common import Options, Row, cpu, interleaved, median_ratio
from ncollapse.measuring.measure import measure
from ncollapse.sources.specs.models import load_model

BATCH, SAMPLES, SIDE, CLASSES = 128, 2048, 32, 10


def run(options: Options) -> list[Row]:
    model = load_model("torchvision:resnet18", num_classes=CLASSES).model.eval()
    # As on CIFAR: no stride and no pooling before the first block.
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    samples = 8 * SAMPLES if options.full else SAMPLES
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % CLASSES
    inputs = torch.randn(samples, 3, SIDE, SIDE, generator=generator)
    inputs += torch.randn(CLASSES, 3, SIDE, SIDE, generator=generator)[labels]
    data = (inputs, labels)

    def forward() -> None:
        with torch.inference_mode():
            for start in range(0, samples, BATCH):
                model(inputs[start : start + BATCH])

    def layers() -> None:
        found = measure(model, data, layers=_convolution, batch_size=BATCH)
        assert len(found.results["train"]) == 21

    def plainly() -> None:
        measure(model, data, layers=_convolution, batch_size=BATCH, null=False, intervals=False)

    times = interleaved(
        {"forward": forward, "readings": plainly, "all": layers}, repeats=2, clock=cpu
    )
    what = f"20 convolutions and the head, {samples} images of {SIDE} × {SIDE}"
    found = [
        Row("layers", f"{what}: all", median_ratio(times["all"], times["forward"]), "×", 1.5),
        Row(
            "layers",
            "the same without nulls and intervals",
            median_ratio(times["readings"], times["forward"]),
            "×",
            1.5,
        ),
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return [*found, Row("layers", "peak memory of the process, for information", peak, "GB")]


def _convolution(_: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d)
