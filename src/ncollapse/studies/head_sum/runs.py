"""Runs of the head-sum study: networks, losses and schedules against the law, and faults."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn

from ncollapse.lab.data import digits, geometric_counts, long_tailed
from ncollapse.lab.head_sums import (
    DECAY,
    LOSSES,
    adamw,
    batches,
    faults,
    followed,
    muon,
    rest,
    schedules,
    squares,
)
from ncollapse.lab.networks import TEST_SHARE
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.record.readings import AGREES
from ncollapse.studies.models import equals
from ncollapse.theory.subjects.head_sum import Rule
from ncollapse.tracking.head_breaks import LawReading

NAMES = ("ReLU, BatchNorm", "ReLU, LayerNorm", "CNN", "ResNet", "transformer")


def law(settings: Plan, seed: int) -> Outcome:
    """Every network with every loss and schedule: no fault."""
    rows = []
    for name, run in _networks(settings, seed):
        for loss, function in LOSSES.items():
            for schedule, make in schedules(settings["steps"]).items():
                found = run(loss=function, schedule=make)
                rows.append({**_row(name, found), "loss": loss, "schedule": schedule})
    values = {
        "head-sum-law": max(row["error"] for row in rows),
        "head-sum-alarms": sum(row["answer"] != AGREES for row in rows),
    }
    return outcome(values, rows=rows)


def broken(settings: Plan, seed: int) -> Outcome:
    """Losses and optimizers that break it, or keep it to their own precision."""
    decay = Rule(DECAY, decoupled=True)
    rows: dict[str, list[dict[str, Any]]] = {"squares": [], "adamw": [], "muon": []}
    for name, run in _networks(settings, seed):
        rows["squares"].append(_row(name, run(loss=squares)))
        rows["adamw"].append(_row(name, run(make=adamw, rule=decay)))
        rows["muon"].append(_row(name, run(make=muon, fault=rest())))
    values = {
        "head-sum-squares": min(row["error"] for row in rows["squares"]),
        "head-sum-adamw": min(row["error"] for row in rows["adamw"]),
        "head-sum-muon": max(row["error"] for row in rows["muon"]),
    }
    return outcome(values, **rows)


def injected(settings: Plan, seed: int) -> Outcome:
    """Every fault in every network."""
    rows = []
    for name, run in _networks(settings, seed):
        for wanted, changed in faults(settings["steps"]):
            found = run(**changed)
            rows.append({**_row(name, found), "wanted": wanted, "named": list(found.names)})
    right = [row["named"] == [row["wanted"]] for row in rows]
    return outcome({"head-sum-faults": sum(right) / len(right)}, rows=rows)


def _networks(settings: Plan, seed: int) -> Iterator[tuple[str, Any]]:
    """Networks by name, each as a run of itself on unequal classes of digits."""
    whole = digits(TEST_SHARE, seed)
    data = long_tailed(whole, geometric_counts(100, 20, whole.num_classes), seed)
    order = batches(data, settings["steps"], settings["batch"], seed)
    sizes = {key: settings[key] for key in ("width", "features", "channels", "resnet", "blocks")}
    models: dict[str, nn.Sequential] = equals(**sizes, seed=seed)
    for name in NAMES[: settings["networks"]]:
        yield name, partial(followed, models[name], data, order)


def _row(name: str, found: LawReading) -> dict[str, Any]:
    return {"network": name, "error": found.error, "answer": found.answer}
