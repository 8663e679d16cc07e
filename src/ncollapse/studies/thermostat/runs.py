"""Runs of the thermostat study: one network a set point and one without, from the same start."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ncollapse.control.thermostat import Thermostat
from ncollapse.errors import NCollapseWarning
from ncollapse.lab.control_parts import (
    NC1,
    RATIO,
    Dial,
    Transfer,
    along_means,
    few_shot,
    reading,
    slope,
    transfer,
)
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.study import Units
from ncollapse.lab.train import Settings, train

NEAR = 0.35


def dial(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """All set points on one split of digits into seen and unseen."""
    digits = transfer(settings["seen"], seed)
    plain = _train(settings, digits, seed, None)
    rows = [_train(settings, digits, seed, point) for point in settings["points"]]
    levels = [math.log10(row["point"]) for row in rows]
    return {
        "values": {
            "thermostat-median": 100 * max(abs(row["median"] / row["point"] - 1) for row in rows),
            "thermostat-epochs": 100 * min(row["near"] for row in rows),
            "thermostat-online": 100 * max(abs(row["online_ratio"] - 1) for row in rows),
            "thermostat-accuracy": 100 * max(plain["accuracy"] - row["accuracy"] for row in rows),
            "thermostat-unseen": 100 * slope(levels, [row["unseen"] for row in rows]),
        },
        "data": {"classes": digits.classes, "plain": plain, "rows": rows},
    }


def ratio(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """No claim: the same with thermostats of nc1_ratio, which sees spread in all directions."""
    digits = transfer(settings["seen"], seed)
    rows = [_train(settings, digits, seed, point, RATIO) for point in settings["ratios"]]
    levels = [math.log10(row["point"]) for row in rows]
    rise = 100 * slope(levels, [row["unseen"] for row in rows])
    return {"values": {}, "data": {"rows": rows, "slope": rise}}


def _train(
    settings: Mapping[str, Any],
    digits: Transfer,
    seed: int,
    point: float | None,
    metric: str = NC1,
) -> dict[str, Any]:
    """One network; `point` None trains without a thermostat."""
    model = mlp(digits.seen.num_features, WIDTHS, settings["seen"], seed=seed)
    watch = Dial(model, None if point is None else Thermostat(point, metric))
    how = Settings(
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        weight_decay=settings["weight_decay"],
        loss=watch.loss,
        seed=seed,
    )
    with warnings.catch_warnings():
        # Out of reach is a result here; it is kept below.
        warnings.simplefilter("ignore", NCollapseWarning)
        last = train(model, digits.seen, how, [watch]).history[-1]
    third = max(1, settings["epochs"] // 3)
    readings = np.array(watch.readings[-third:])
    inputs, labels = digits.seen.loader("train")
    along, share = along_means(penultimate(model, inputs), labels)
    row: dict[str, Any] = {
        "point": point,
        "along_means": along,
        "share_along_means": share,
        "readings": watch.readings,
        "median": float(np.median(readings)),
        "nc1_ratio": reading(model, digits.seen.loader("train"), RATIO),
        "accuracy": 1 - last.test_error,
        "train_error": last.train_error,
        "unseen": few_shot(
            penultimate(model, digits.unseen_x),
            digits.unseen_y,
            draws=settings["draws"],
            seed=seed,
        ),
    }
    if watch.thermostat is not None and point is not None:
        row["near"] = float(np.mean(np.abs(readings / point - 1) <= NEAR))
        row["online"] = watch.online
        row["online_ratio"] = float(np.median(watch.online[-third:])) / row["median"]
        row["weights"] = watch.weights
        row["saturated"] = watch.thermostat.saturated
    return row


def draw(units: Units) -> dict[str, Any]:
    """Readings by epoch at every set point; 5-shot accuracy on unseen digits against it."""
    from ncollapse.lab.figures import axes, finish

    made: dict[str, Any] = {}
    found = units["dial"]
    if not found:
        return made
    figure, area, ink = axes("epoch", "nc1_fisher, training split, eval mode", "y")
    for row, colour in zip(found[0]["rows"], ink.all, strict=False):
        epochs = range(1, len(row["readings"]) + 1)
        area.axhline(row["point"], color=colour, linestyle=":", linewidth=1)
        for unit in found:
            same = next(r for r in unit["rows"] if r["point"] == row["point"])
            label = f"set point {row['point']:g}" if unit is found[0] else None
            area.plot(epochs, same["readings"], color=colour, linewidth=1, label=label)
    for unit in found:
        label = "no thermostat" if unit is found[0] else None
        area.plot(epochs, unit["plain"]["readings"], color=ink.faint, linewidth=1, label=label)
    # Room for the legend below the curves.
    low = min(min(unit["plain"]["readings"]) for unit in found)
    area.set_ylim(bottom=low / 20)
    made["readings"] = (
        "NC1 of the training split by epoch, with the thermostat at four set points and without",
        finish(figure, area),
    )
    figure, area, ink = axes("set point of nc1_fisher", "5-shot accuracy, unseen", "x")
    for unit, colour in zip(found, ink.all * len(found), strict=False):
        points = [row["point"] for row in unit["rows"]]
        area.plot(points, [row["unseen"] for row in unit["rows"]], "o-", color=colour,
                  label=f"seed {unit['seed']}")  # fmt: skip
        area.plot([unit["plain"]["median"]], [unit["plain"]["unseen"]], "x", color=colour)
    made["unseen"] = (
        "5-shot accuracy on unseen digits by set point; crosses without a thermostat, at the NC1 "
        "they reach",
        finish(figure, area),
    )
    if units["ratio"]:
        figure, area, ink = axes("set point of nc1_ratio", "5-shot accuracy, unseen", "x")
        for unit, colour in zip(units["ratio"], ink.all * len(found), strict=False):
            points = [row["point"] for row in unit["rows"]]
            area.plot(points, [row["unseen"] for row in unit["rows"]], "o-", color=colour,
                      label=f"seed {unit['seed']}")  # fmt: skip
        made["unseen-ratio"] = (
            "5-shot accuracy on unseen digits by set point, where the thermostat holds nc1_ratio",
            finish(figure, area),
        )
    return made
