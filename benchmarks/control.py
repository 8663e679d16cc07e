"""What control costs: the nearest simplex frame, and penalties beside a ResNet-18 training step."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common import Options, Row, interleaved, median_ratio, wall
from ncollapse.control import (
    CodingRate,
    DualityPenalty,
    FramePenalty,
    KoLeo,
    NC1Penalty,
    NearestFrameHead,
    RateReduction,
    Thermostat,
    VarianceCovariance,
    nearest_simplex,
)
from ncollapse.sources.specs.models import load_model

BATCH, SIDE, CLASSES = 128, 32, 10


def run(options: Options) -> list[Row]:
    return [*_frames(), *_penalties()]


def _frames() -> list[Row]:
    rows = []
    for K, d, dtype, bar, repeats in (
        (100, 512, torch.float32, 10, 21),
        (100, 512, torch.float64, 10, 21),
        (1000, 1024, torch.float32, 1000, 3),
        (1000, 1024, torch.float64, 1500, 3),
    ):
        generator = torch.Generator().manual_seed(0)
        means = torch.randn(K, d, generator=generator, dtype=dtype).requires_grad_()
        pull = torch.randn(K, d, generator=generator, dtype=dtype)

        def both(means: Tensor = means, pull: Tensor = pull) -> None:
            frame, _ = nearest_simplex(means)
            frame.backward(pull)

        both()
        taken = statistics.median(wall(both) for _ in range(repeats))
        what = f"nearest frame and gradient, K={K} d={d}, {str(dtype).removeprefix('torch.')}"
        rows.append(Row("control", what, 1e3 * taken, "ms", bar))
    return rows


def _penalties() -> list[Row]:
    """Each beside forward, backward and update of the model, batch of 128 on 32 × 32 images."""
    model = load_model("torchvision:resnet18", num_classes=CLASSES).model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(BATCH) % CLASSES
    head = model.get_submodule("fc")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    # Their own forward and backward, on features of the head's width.
    features = torch.randn(BATCH, 512, generator=generator).relu().requires_grad_()
    weight = head.weight
    assert isinstance(weight, Tensor)
    dial, follows = Thermostat(0.1), NearestFrameHead(512, CLASSES)
    nc1, frame, duality = NC1Penalty(), FramePenalty(), DualityPenalty()
    fisher, rate, reduction = NC1Penalty(metric="nc1_fisher"), CodingRate(), RateReduction()
    koleo, spread = KoLeo(), VarianceCovariance()

    def held() -> Tensor:
        dial.observe(features, labels)
        return dial.penalty()

    costs: dict[str, Callable[[], Tensor]] = {
        "NC1Penalty": lambda: nc1(features, labels),
        "NC1Penalty nc1_fisher": lambda: fisher(features, labels),
        "FramePenalty": lambda: frame(features, labels),
        "DualityPenalty": lambda: duality(features, labels, weight),
        "CodingRate": lambda: rate(features),
        "RateReduction": lambda: reduction(features, labels),
        "KoLeo": lambda: koleo(features),
        "VarianceCovariance": lambda: spread(features),
        "Thermostat": held,
        "NearestFrameHead": lambda: follows(features, labels).square().mean(),
    }
    timed: dict[str, Callable[[], object]] = {"step": step}
    for name, cost in costs.items():
        timed[name] = lambda cost=cost: cost().backward()
    times = interleaved(timed, repeats=7)
    what = f"beside a ResNet-18 step, batch {BATCH}"
    return [
        Row("control", f"{name} {what}", 100 * median_ratio(times[name], times["step"]), "%", 10)
        for name in costs
    ]
