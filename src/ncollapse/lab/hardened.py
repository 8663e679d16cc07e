"""Networks trained against attacks, and what studies read of networks under attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.tap.taps import Taps
from ncollapse.control.thermostat import Thermostat
from ncollapse.downstream.attacks import PGD, attacked
from ncollapse.downstream.hardening import HardStep
from ncollapse.downstream.robustness import robust_accuracy, seen
from ncollapse.lab.control_parts import Dial
from ncollapse.lab.data import Dataset
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.parallel import split_batches
from ncollapse.lab.train import Settings, train
from ncollapse.measuring.attacked import measure_attack
from ncollapse.metrics.leap import Vertices, angle_between, class_means

Step = Callable[[nn.Module, Tensor, Tensor, torch.Generator], HardStep]
CLIP = (0.0, 1.0)
# What is read at every layer and split.
KEYS = (
    "accuracy", "ncc_accuracy", "nc1_fisher", "nc2_maxangle_means", "flip_share", "leap_own",
    "leap_predicted", "leap_between", "mean_angle", "mean_angle_raw",
)  # fmt: skip
# Early and late activations of the networks of `networks.WIDTHS`.
LAYERS = ("relu0", "relu1")


def harden(
    model: nn.Sequential, data: Dataset, settings: Settings, step: Step
) -> tuple[Tensor, Tensor]:
    """SGD on the loss of `step`(model, inputs, labels, generator); schedule, momentum and decay are
    those of `settings`. Returns the perturbed inputs and labels of the last epoch."""
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    generator = torch.Generator().manual_seed(settings.seed)
    used: list[HardStep] = []
    for epoch in range(settings.epochs):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * settings.factor(epoch)
        model.train()
        used = []
        for part in split_batches(data.count("train"), settings.batch_size, generator):
            made = step(model, data.train_x[part], data.train_y[part], generator)
            optimizer.zero_grad(set_to_none=True)
            made.loss.backward()
            optimizer.step()
            used.append(made)
    model.eval()
    return torch.cat([one.inputs for one in used]), torch.cat([one.labels for one in used])


def network(
    data: Dataset, settings: Settings, point: float | None = None
) -> tuple[nn.Sequential, float]:
    """A network on clean digits and its test accuracy; with `point` a thermostat holds nc1_fisher
    there."""
    model = mlp(data.num_features, WIDTHS, data.num_classes, seed=settings.seed)
    watch = Dial(model, None if point is None else Thermostat(point))
    settings = Settings.of(vars(settings) | {"loss": watch.loss})
    return model, 1 - train(model, data, settings).history[-1].test_error


def looked(
    model: nn.Module, data: Dataset, eps: float, *, test: bool = True, **more: Any
) -> dict[str, dict[str, Any]]:
    """Readings by split: those of the head by key, and ncc_accuracy by layer under "layers"."""
    loaders = {split: data.loader(split) for split in ("train", *(("test",) if test else ()))}
    found = measure_attack(
        model, loaders, eps=eps, clip=CLIP, keys=KEYS, null=False, intervals=False, **more
    )
    return {
        split: {key: reading.value for key, reading in layers["head"].items()}
        | {"layers": {name: readings["ncc_accuracy"].value for name, readings in layers.items()}}
        for split, layers in found.results.items()
    }


def targeted(
    model: nn.Module, data: Dataset, eps: float, steps: int, seed: int
) -> dict[str, float]:
    """A targeted attack on the training split, y → y + 1, its successes alone: their share, and the
    angle of their means to the clean ones, grouped by target and by label."""
    inputs, labels = data.loader("train")
    K = data.num_classes
    goal = (labels + 1) % K
    hostile = attacked(
        model, PGD(eps, steps=steps, targeted=True, clip=CLIP), inputs, goal, seed=seed
    )
    taps = Taps(model)
    clean, after = seen(taps, (inputs, labels)), seen(taps, (hostile, goal))
    there = after.decided == goal

    def angle(groups: Tensor) -> float:
        means = class_means(after.features[there], groups[there], K)
        return float(angle_between(clean.vertices, Vertices(means)))

    return {"share": float(there.double().mean()), "target": angle(goal), "true": angle(labels)}


def pixels(data: Dataset, hostile: Mapping[str, Tensor]) -> dict[str, float]:
    """Accuracy of nearest clean class means of the pixels themselves, by name of the inputs."""
    means = class_means(data.train_x, data.train_y, data.num_classes)
    found = {}
    for name, inputs in hostile.items():
        nearest = torch.cdist(inputs.double(), means).argmin(1)
        found[name] = float((nearest == data.test_y).double().mean())
    return found


def withstood(model: nn.Module, data: Dataset, eps: float, steps: int, seed: int) -> float:
    """Test accuracy under PGD on cross-entropy and on the margin, the worse for each sample."""
    how = PGD(eps, steps=steps, clip=CLIP)
    attacks = [how, replace(how, loss="margin")]
    return robust_accuracy(model, attacks, *data.loader("test"), seed=seed)
