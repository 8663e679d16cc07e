"""Set points over batch sizes: samples are drawn afresh, so that held-out batches are of the same
population as those that the thermostat sees, and nothing can be learned by heart."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.control.regularizers import nc1_penalty
from ncollapse.control.thermostat import Thermostat
from ncollapse.errors import NCollapseWarning
from ncollapse.lab.models import mlp
from ncollapse.lab.readings import reading_of
from ncollapse.lab.study import Outcome, Plan, outcome

INPUTS, WIDTH = 32, 64
METRICS = ("ratio", "cdnv", "fisher")
# Population readings in the last third of training.
LOOKS = 10


@dataclass(frozen=True, eq=False)
class Stream:
    """Classes that are normal about random centres, labels drawn at random."""

    centres: Tensor
    generator: torch.Generator

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels that were never seen before."""
        labels = torch.randint(len(self.centres), (size,), generator=self.generator)
        noise = torch.randn(size, self.centres.shape[1], generator=self.generator)
        return self.centres[labels] + noise, labels


def stream(classes: int, seed: int, *, held_out: bool = False) -> Stream:
    """The same population for training and, by another generator, held out."""
    drawn = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, INPUTS, generator=drawn)
    return Stream(centres, torch.Generator().manual_seed(2 * seed + 1000 + held_out))


def batches(settings: Plan, seed: int) -> Outcome:
    """One network for each metric, set point and batch size."""
    how = settings["stream"]
    rows = [
        _held(how, seed, metric, point, size)
        for metric in METRICS
        for point in how[metric]
        for size in how["sizes"]
    ]
    values: dict[str, float | None] = {
        f"thermostat-batches-{metric}": _worst(
            [row["population"] / row["point"] for row in rows if row["metric"] == metric]
        )
        for metric in METRICS
    }
    values["thermostat-batches-reading"] = _worst([row["ratio"] for row in rows])
    return outcome(values, rows=rows)


def _worst(ratios: list[float]) -> float:
    """Largest deviation from 1 in per cent; NaN where one is."""
    return float(100 * np.abs(np.array(ratios) - 1).max())


def _held(how: Plan, seed: int, metric: str, point: float, size: int) -> Outcome:
    """Medians over the last third: of the metric of `population` samples held out, and over that of
    what the thermostat read and of what the batch alone shows. given: share of its readings that
    were numbers."""
    steps, count, key = how["steps"], how["classes"], f"nc1_{metric}"
    data, held_out = stream(count, seed), stream(count, seed, held_out=True)
    model = mlp(INPUTS, (WIDTH, WIDTH), count, batch_norm=False, seed=seed)
    body, head = model[:-1], model.get_submodule("head")
    optimizer = torch.optim.SGD(model.parameters(), lr=how["rate"], momentum=0.9)
    dial = Thermostat(
        point, key, num_classes=count, gain=how["gain"], proportional=how["proportional"]
    )
    own, plain, found = [], [], []
    start, every = steps - steps // 3, max(1, steps // (3 * LOOKS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NCollapseWarning)
        for step in range(steps):
            inputs, labels = data.batch(size)
            features = body(inputs)
            read = dial.observe(features, labels)
            loss = functional.cross_entropy(head(features), labels) + dial.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step < start:
                continue
            own.append(read)
            plain.append(float(nc1_penalty(features.detach(), labels, metric=key)))
            if step % every == 0:
                found.append(_population(body, held_out, how["population"], key))
    readings = np.array(own)
    population = float(np.median(found))
    given = readings[np.isfinite(readings)]
    median = float(np.median(given)) if given.size else math.nan
    return {
        "metric": metric, "point": point, "size": size, "population": population,
        "reading": median, "ratio": median / population, "given": given.size / readings.size,
        "plain": float(np.median(plain)) / population, "weight": dial.weight,
        "saturated": dial.saturated,
    }  # fmt: skip


@torch.no_grad()
def _population(body: nn.Module, held_out: Stream, samples: int, key: str) -> float:
    inputs, labels = held_out.batch(samples)
    return reading_of(body(inputs), labels, key)
