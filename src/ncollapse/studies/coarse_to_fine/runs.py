"""Runs of the coarse-to-fine study: train on super-classes, probe and tune for the ten digits."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from torch import nn

from ncollapse.downstream.probes import fitted
from ncollapse.lab.data import Dataset, digits, long_tailed
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.onward import grouped_labels, layers_of
from ncollapse.lab.readings import reading
from ncollapse.lab.statistics import slope
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings, train

FIRST, LAST, BLOCK = "relu0", f"relu{len(WIDTHS) - 1}", len(WIDTHS) - 1


def taught(settings: Plan, seed: int) -> Outcome:
    """One dealing of digits into super-classes, all degrees of collapse."""
    fine, groups = digits(seed=seed), settings["groups"]
    few = long_tailed(fine, (settings["shots"],) * fine.num_classes, seed)
    coarse = replace(
        fine,
        train_y=grouped_labels(fine.train_y, groups, seed),
        test_y=grouped_labels(fine.test_y, groups, seed),
        class_names=tuple(map(str, range(groups))),
    )
    rows = []
    for epochs, decay in settings["degrees"]:
        model = mlp(fine.num_features, WIDTHS, groups, seed=seed)
        how = Settings(epochs=epochs, weight_decay=decay, seed=seed)
        last = train(model, coarse, how).history[-1]
        rows.append(
            {
                "epochs": epochs,
                "decay": decay,
                "source": 1 - last.test_error,
                "nc1": reading(model, coarse.loader("train")),
                "probe": _probes(model, few),
                "block": _tuned(model, few, settings["tuning"], seed, _last_block()),
                "full": _tuned(model, few, settings["tuning"], seed),
            }
        )
    decades: list[float] = [-math.log10(row["nc1"]) for row in rows]
    strong: dict[str, Any] = rows[-1]
    probe = strong["probe"]
    name = f"coarse-{groups}"
    values = {
        f"{name}-probe": 100 * slope(decades, [row["probe"][LAST] for row in rows]),
        f"{name}-first": 100 * slope(decades, [row["probe"][FIRST] for row in rows]),
        f"{name}-layer": 100 * (probe[FIRST] - probe[LAST]),
        f"{name}-block": 100 * (strong["block"] - probe[LAST]),
        f"{name}-full": 100 * (strong["full"] - strong["block"]),
    }
    return outcome(values, groups=groups, rows=rows)


def _probes(model: nn.Sequential, few: Dataset) -> dict[str, float]:
    """Test accuracy on the ten digits of a linear probe of the few training samples, by layer."""
    fit, test = layers_of(model, few.train_x), layers_of(model, few.test_x)
    return {
        name: float(
            (fitted(fit[name].double(), few.train_y, test[name].double()).argmax(1) == few.test_y)
            .double()
            .mean()
        )
        for name in fit
    }


def _last_block() -> tuple[str, ...]:
    return f"linear{BLOCK}", f"norm{BLOCK}", "head"


def _tuned(
    model: nn.Sequential, few: Dataset, plan: Plan, seed: int, parts: Collection[str] = ()
) -> float:
    """Test accuracy on the ten digits after training on the few samples from these weights, with a
    new head; parts: what is trained, all where none is named."""
    fresh = mlp(few.num_features, WIDTHS, few.num_classes, seed=seed)
    known = {key: value for key, value in model.state_dict().items() if "head" not in key}
    fresh.load_state_dict(known, strict=False)
    for name, part in fresh.named_children():
        part.requires_grad_(not parts or name in parts)
    how = Settings.of(plan, weight_decay=0.0, seed=seed)
    last = train(fresh, few, how).history[-1]
    return 1 - last.test_error
