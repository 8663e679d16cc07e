"""Runs of the losses study on networks: accuracies by loss and width, and rates of NC1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ncollapse.lab.data import Dataset, digits, long_tailed
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS, read
from ncollapse.lab.study import Units
from ncollapse.lab.train import Settings, State, train

LOSSES = ("ce", "ls", "focal", "mse")
DECAY = 5e-4


def _digits(samples: int, seed: int) -> Dataset:
    """All training digits, or about `samples` of them."""
    data = digits(seed=seed)
    if not samples:
        return data
    return long_tailed(data, (samples // data.num_classes,) * data.num_classes, seed)


def accuracies(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Test accuracy of the four losses on a wide and a narrow network."""
    data = _digits(settings["samples"], seed)
    found: dict[str, dict[str, float]] = {}
    for name, width in settings["widths"].items():
        found[name] = {}
        for loss in LOSSES:
            model = mlp(data.num_features, (width,) * 3, data.num_classes, seed=seed)
            chosen = Settings(epochs=settings["epochs"], weight_decay=DECAY, loss=loss, seed=seed)
            error = train(model, data, chosen).history[-1].test_error
            found[name][loss] = 100 * (1 - error)
    return {"values": {}, "data": {"accuracy": found}}


def combine(units: Units) -> dict[str, list[float]]:
    """The spread of mean accuracies over losses, as one jackknife value a seed: its mean corrects
    the bias that noise gives a spread, its scatter is the uncertainty."""
    rows = [unit["accuracy"] for unit in units["networks"]]
    if not rows:
        return {}
    return {
        f"losses-accuracy-{name}": jackknife([[row[name][loss] for loss in LOSSES] for row in rows])
        for name in rows[0]
    }


def jackknife(rows: Sequence[Sequence[float]]) -> list[float]:
    """Pseudo-values n s - (n-1) s₍₋ᵢ₎ of s = max - min over columns of the mean over rows."""
    table = np.array(rows)
    count = len(table)
    whole = float(np.ptp(table.mean(0)))
    if count == 1:
        return [whole]
    return [
        count * whole - (count - 1) * float(np.ptp(np.delete(table, i, axis=0).mean(0)))
        for i in range(count)
    ]


@dataclass
class NC1Curve:
    """Callback of `train`: nc1_ratio on the training split, twenty looks or more."""

    every: int
    steps: list[int] = field(default_factory=list)
    nc1: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def on_start(self, state: State) -> None:
        pass

    def on_epoch_end(self, state: State) -> None:
        if state.epoch % self.every:
            return
        # The models of this file are Sequential; the protocol promises a Module.
        _, nc1 = read(state.model, state.data)  # type: ignore[arg-type]
        self.steps.append(state.step)
        self.nc1.append(nc1)
        self.errors.append(state.history[-1].train_error)

    def on_end(self, state: State) -> None:
        pass


def slopes(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """NC1 of a network at a constant rate, with and without decay; fitted after `from` epochs."""
    plan = settings["slope"]
    data = _digits(settings["samples"], seed)
    curves = {}
    for name, decay in (("decay", plan["decay"]), ("none", 0.0)):
        model = mlp(
            data.num_features, WIDTHS, data.num_classes, bias=False, last_relu=False, seed=seed
        )
        chosen = Settings(epochs=plan["epochs"], weight_decay=decay, schedule="constant", seed=seed)
        curve = NC1Curve(max(1, plan["epochs"] // 60))
        train(model, data, chosen, [curve])
        curves[name] = curve
    first = plan["from"] * curves["decay"].steps[-1] / plan["epochs"]
    with_decay, without = curves["decay"], curves["none"]
    rate = chosen.learning_rate / (1 - chosen.momentum)
    predicted = -2 * rate * plan["decay"]
    slope = _slope(with_decay, first, lambda steps: steps)
    power = _slope(without, first, lambda steps: np.log(np.log(steps)))
    return {
        "values": {"losses-network-decay": slope / predicted, "losses-network-log": power},
        "data": {
            "first": first,
            "predicted": predicted,
            **{name: {"steps": c.steps, "nc1": c.nc1} for name, c in curves.items()},
        },
    }


def _slope(curve: NC1Curve, first: float, scale: Any) -> float:
    steps = np.array(curve.steps, dtype=np.float64)
    late = steps >= first
    return float(np.polyfit(scale(steps[late]), np.log(np.array(curve.nc1)[late]), 1)[0])


def draw(units: Units) -> dict[str, Any]:
    """The path between the frames, the rates of NC1, accuracies by width."""
    from ncollapse.lab.figures import axes, finish

    made: dict[str, Any] = {}
    if units["frames"]:
        path = np.array(units["frames"][0]["path"], dtype=np.float64)
        figure, area, ink = axes("decay of the bias λ_b", "cosine of raw means", "x")
        area.plot(path[:, 0], path[:, 1], color=ink.faint, label="closed form")
        area.plot(path[:, 0], path[:, 2], "o", color=ink.first, label="descent")
        made["path"] = (
            "Mean squared error: from the simplex (small λ_b) to the orthogonal frame",
            finish(figure, area),
        )
    if units["rates"]:
        data = units["rates"][0]
        figure, area, ink = axes("step", "NC1", "y")
        steps = np.array(data["steps"])
        area.plot(steps, data["nc1"], "o", color=ink.first, markersize=3, label="descent")
        line = np.exp(data["predicted"] * (steps - steps[-1])) * data["nc1"][-1]
        area.plot(steps, line, color=ink.faint, label="slope -2ηλ")
        made["decay"] = (
            "Free features with decay: NC1 falls by e^(-2ηλ) a step",
            finish(figure, area),
        )
    if units["slopes"]:
        data = units["slopes"][0]
        figure, area, ink = axes("step", "NC1", "xy")
        for (name, label), colour in zip(
            (("decay", "network with decay"), ("none", "network without")), ink.all, strict=False
        ):
            area.plot(data[name]["steps"], data[name]["nc1"], color=colour, label=label)
        made["network"] = (
            "NC1 of a network at a constant learning rate, with and without decay",
            finish(figure, area),
        )
    if units["networks"]:
        figure, area, ink = axes("loss", "test accuracy, %")
        for name, colour in zip(units["networks"][0]["accuracy"], ink.all, strict=False):
            for unit in units["networks"]:
                values = [unit["accuracy"][name][loss] for loss in LOSSES]
                shown = name if unit is units["networks"][0] else None
                area.plot(range(len(LOSSES)), values, "o", color=colour, label=shown)
        area.set_xticks(range(len(LOSSES)), LOSSES)
        made["accuracy"] = (
            "Test accuracy of four losses on a wide and a narrow network, one dot a seed",
            finish(figure, area),
        )
    return made
