"""Base models of growing severity of collapse, and what each forgets when classes are added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ncollapse.downstream.forgetting import measure_forgetting
from ncollapse.downstream.subspace import cross_cdnv
from ncollapse.lab.data import Dataset
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.readings import reading
from ncollapse.lab.sessions import first_of, only
from ncollapse.lab.study import Plan
from ncollapse.lab.train import Settings, train


def severities(
    settings: Plan, data: Dataset, base: int, later: Sequence[int], seed: int
) -> list[dict[str, Any]]:
    """A row for each of `levels` (epochs, decay): a network is taught the first `base` classes, and
    then those of `later` with `replay` samples of each old one. NC1 (train) and the overlap of old
    and new classes before; what the head forgot, and what is left in the features, after."""
    old, new = only(data, range(base)), only(data, later)
    replayed, _ = first_of(old.train_y, range(base), settings["replay"])
    buffer = old.train_x[replayed], old.train_y[replayed]
    mixed = replace(
        old,
        train_x=torch.cat([new.train_x, buffer[0]]),
        train_y=torch.cat([new.train_y, buffer[1]]),
    )
    rows = []
    for epochs, decay in settings["levels"]:
        model = mlp(data.num_features, settings["widths"], base + len(later), seed=seed)
        first = Settings(epochs=epochs, weight_decay=decay, seed=seed)
        before = train(model, old, first).history[-1]
        row: dict[str, Any] = {
            "nc1": reading(model, old.loader("train")),
            "cdnv": _overlap(model, old, new),
        }
        second = Settings(
            epochs=settings["new_epochs"],
            learning_rate=settings["new_rate"],
            schedule="constant",
            weight_decay=decay,
            seed=seed,
        )
        after = train(model, mixed, second).history[-1]
        found = measure_forgetting(
            model, old=old.loader("test"), new=new.loader("test"), buffer=buffer, folds=3
        )
        row |= {
            "forgot": after.test_error - before.test_error,
            "energy": found.energy,
            "energy_new": found.energy_new,
            "random": found.random,
            "gap": found.gap,
            "inflation": average([c.inflation for c in found.classes]),
            "buffer_rank": average([c.buffer_rank for c in found.classes]),
            "drawn_rank": average([c.drawn_rank for c in found.classes]),
        }
        rows.append(row)
    return rows


def _overlap(model: nn.Sequential, old: Dataset, new: Dataset) -> float:
    """CDNV of old classes (test) against new ones (test) in what enters the head."""
    return cross_cdnv(
        penultimate(model, old.test_x), old.test_y, penultimate(model, new.test_x), new.test_y
    )


def average(values: Sequence[Any]) -> float:
    """Their mean."""
    return float(sum(values) / len(values))
