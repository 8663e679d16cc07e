"""Networks trained on clean digits, at a set point or against attacks, for studies of attacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.control.thermostat import Thermostat
from ncollapse.downstream.attacks import PGD
from ncollapse.downstream.hardening import HardStep, adversarial_step
from ncollapse.errors import NCollapseWarning
from ncollapse.lab.control_parts import Dial
from ncollapse.lab.data import Dataset, digits
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.parallel import split_batches
from ncollapse.lab.readings import reading
from ncollapse.lab.samples import subset
from ncollapse.lab.train import Settings, train

Step = Callable[..., HardStep]


def harden(
    data: Dataset, settings: Settings, step: Step, attack: PGD
) -> tuple[nn.Sequential, tuple[Tensor, Tensor]]:
    """A network trained by SGD on the loss of `step`(model, inputs, labels, attack); schedule,
    momentum and decay are those of `settings`. With it perturbed inputs and labels of the last
    epoch."""
    model = mlp(data.num_features, WIDTHS, data.num_classes, seed=settings.seed)
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
            x, y = data.train_x[part], data.train_y[part]
            made = step(model, x, y, attack, generator=generator)
            optimizer.zero_grad(set_to_none=True)
            made.loss.backward()
            optimizer.step()
            used.append(made)
    inputs, labels = torch.cat([x.inputs for x in used]), torch.cat([x.labels for x in used])
    return model.eval(), (inputs, labels)


def network(
    data: Dataset, settings: Settings, point: float | None = None
) -> tuple[nn.Sequential, float]:
    """A network on clean digits and its test accuracy; with `point` a thermostat holds nc1_fisher
    there."""
    model = mlp(data.num_features, WIDTHS, data.num_classes, seed=settings.seed)
    watch = Dial(model, None if point is None else Thermostat(point))
    settings = Settings.of(vars(settings) | {"loss": watch.loss})
    return model, 1 - train(model, data, settings).history[-1].test_error


def set_points(
    data: Dataset, settings: Settings, points: Sequence[float], robust: Callable[[nn.Module], float]
) -> tuple[list[dict[str, float]], nn.Module]:
    """By set point what was reached, test accuracy and robust(model); and the last network."""
    rows = []
    with warnings.catch_warnings():
        # Out of reach is a result here; what is reached is kept below.
        warnings.simplefilter("ignore", NCollapseWarning)
        for point in points:
            model, accuracy = network(data, settings, point)
            held = reading(model, data.loader("train"))
            rows.append(
                {"point": point, "nc1": held, "accuracy": accuracy, "robust": robust(model)}
            )
    return rows, model


def few_digits(samples: int, seed: int) -> Dataset:
    """Digits, of both splits at most so many samples; all of them for 0."""
    found = subset(digits(seed=seed), samples, seed)
    assert isinstance(found, Dataset)
    return replace(
        found, test_x=found.test_x[: samples or None], test_y=found.test_y[: samples or None]
    )


def held_against(point: float) -> Callable[..., HardStep]:
    """Adversarial training with a thermostat, made for the first model it meets."""
    dials: list[Dial] = []

    def step(model: nn.Sequential, inputs: Tensor, labels: Tensor, attack: PGD, **more: Any) -> Any:
        if not dials:
            dials.append(Dial(model, Thermostat(point)))
        return adversarial_step(model, inputs, labels, attack, loss=dials[0].loss, **more)

    return step
