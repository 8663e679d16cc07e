"""Runs of the optimisers study: one network under five optimizers at three decays each, and
convolutions."""

from __future__ import annotations

from typing import Any

from ncollapse.lab.data import digits
from ncollapse.lab.models import conv, mlp
from ncollapse.lab.optimisers import ended, numbers, unseen
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings


def network(settings: Plan, seed: int) -> Outcome:
    """The same start, data and batches for every optimizer and decay."""
    data = digits(seed=seed)
    how = Settings(epochs=settings["epochs"], seed=seed)
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, decays in settings["decays"].items():
        models = [mlp(data.num_features, settings["widths"], 10, seed=seed) for _ in decays]
        rows[name] = [
            ended(name, decay, model, data, how, settings["every"])
            for decay, model in zip(decays, models, strict=True)
        ]
    return outcome(numbers(rows), rows=[row for found in rows.values() for row in found])


def convolutions(settings: Plan, seed: int) -> Outcome:
    """A small network of convolutions under SGD and AdamW; at size full under all five."""
    data = digits(seed=seed)
    how = Settings(epochs=settings["conv_epochs"], seed=seed)
    rows = [
        ended(name, decay, conv(10, settings["channels"], seed=seed), data, how, settings["every"])
        for name, decay in settings["conv"]
    ]
    return outcome({"optimisers-conv-unseen": unseen(rows[1])}, rows=rows)
