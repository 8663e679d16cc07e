"""Runs of the coarse-to-fine study: train on super-classes, probe and tune for the ten digits."""

from __future__ import annotations

import math
from dataclasses import replace

from ncollapse.lab.data import digits, long_tailed
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.onward import grouped_labels
from ncollapse.lab.readings import reading
from ncollapse.lab.remedied import BLOCK, probes, tuned
from ncollapse.lab.statistics import slope
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings, train

FIRST, LAST = "relu0", f"relu{len(WIDTHS) - 1}"


def taught(settings: Plan, seed: int) -> Outcome:
    """One dealing of digits into super-classes, all degrees of collapse."""
    fine, groups, plan = digits(seed=seed), settings["groups"], settings["tuning"]
    few = long_tailed(fine, (settings["shots"],) * fine.num_classes, seed)
    coarse = replace(
        fine,
        train_y=grouped_labels(fine.train_y, groups, seed),
        test_y=grouped_labels(fine.test_y, groups, seed),
        class_names=tuple(map(str, range(groups))),
    )
    rows: list[Outcome] = []
    for epochs, decay in settings["degrees"]:
        model = mlp(fine.num_features, WIDTHS, groups, seed=seed)
        how = Settings(epochs=epochs, weight_decay=decay, seed=seed)
        last = train(model, coarse, how).history[-1]
        row = {"epochs": epochs, "decay": decay, "source": 1 - last.test_error}
        row |= {
            "nc1": reading(model, coarse.loader("train")),
            "probe": probes(model, few),
            "block": tuned(model, few, plan, seed, BLOCK),
            "full": tuned(model, few, plan, seed),
        }
        rows.append(row)
    decades = [-math.log10(row["nc1"]) for row in rows]
    strong, name = rows[-1], f"coarse-to-fine-{groups}"
    probe = strong["probe"]
    values = {
        f"{name}-probe": 100 * slope(decades, [row["probe"][LAST] for row in rows]),
        f"{name}-first": 100 * slope(decades, [row["probe"][FIRST] for row in rows]),
        f"{name}-layer": 100 * (probe[FIRST] - probe[LAST]),
        f"{name}-block": 100 * (strong["block"] - probe[LAST]),
        f"{name}-full": 100 * (strong["full"] - strong["block"]),
    }
    return outcome(values, groups=groups, rows=rows)
