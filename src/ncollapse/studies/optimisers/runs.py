"""Runs of the optimisers study: one network under five optimizers at three decays each, and
convolutions."""

from __future__ import annotations

from ncollapse.lab.data import digits
from ncollapse.lab.models import conv
from ncollapse.lab.optimisers import ended, numbers, swept, unseen
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings


def network(settings: Plan, seed: int) -> Outcome:
    """The same start, data and batches for every optimizer and decay."""
    how = Settings(epochs=settings["epochs"], seed=seed)
    rows = swept(settings["decays"], settings["widths"], how, settings["every"])
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
