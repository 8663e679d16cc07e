"""Runs of the incremental study: sessions under four arms, and base models of growing severity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import nn

from ncollapse.downstream.forgetting import measure_forgetting
from ncollapse.downstream.incremental import IncrementalLearner, Recipe
from ncollapse.downstream.subspace import cross_cdnv
from ncollapse.lab.data import Dataset
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.readings import reading
from ncollapse.lab.sessions import Sessions, first_of, only, shuffled_classes, tuned
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings, train

BASE, LATER = 6, ((6, 7), (8, 9))
ALL = BASE + sum(map(len, LATER))


def heads(settings: Plan, seed: int) -> Outcome:
    """Frame and learned head, with and without POC: the setting of later sessions that validates
    best, read on the test split."""
    data = shuffled_classes(seed)
    sessions = Sessions.of(data, BASE, LATER, settings["shots"])
    rows: dict[str, dict[str, Any]] = {}
    for head, known in (("frame", ALL), ("cosine", None)):
        for poc in (0.0, settings["poc"]):
            recipe = Recipe(
                head=head,
                num_classes=known,
                epochs=settings["epochs"],
                steps=settings["steps"],
                poc=poc,
                seed=seed,
            )
            body = mlp(data.num_features, settings["widths"], 2, seed=seed)[:-1]
            learner = IncrementalLearner(body, recipe)
            learner.learn(sessions.data[0])
            arm = head + ("-poc" if poc else "")
            rows[arm] = tuned(learner, sessions, data.loader("test"), settings[head])
    final = {arm: 100 * row["final"] for arm, row in rows.items()}
    values = {
        "incremental-frame": final["frame"] - final["cosine"],
        "incremental-poc-frame": final["frame-poc"] - final["frame"],
        "incremental-poc-cosine": final["cosine-poc"] - final["cosine"],
    }
    return outcome(values, rows=rows)


def severity(settings: Plan, seed: int) -> Outcome:
    """Base models of growing severity; two new classes are learned with a few old samples."""
    data = shuffled_classes(seed)
    old, new = only(data, range(BASE)), only(data, LATER[0])
    replayed, _ = first_of(old.train_y, range(BASE), settings["replay"])
    buffer = old.train_x[replayed], old.train_y[replayed]
    mixed = replace(
        old,
        train_x=torch.cat([new.train_x, buffer[0]]),
        train_y=torch.cat([new.train_y, buffer[1]]),
    )
    rows = []
    for epochs, decay in settings["levels"]:
        model = mlp(data.num_features, settings["widths"], BASE + 2, seed=seed)
        base = Settings(epochs=epochs, weight_decay=decay, seed=seed)
        before = train(model, old, base).history[-1]
        row: dict[str, Any] = {
            "nc1": reading(model, old.loader("train")),
            "cdnv": _overlap(model, old, new),
        }
        later = Settings(
            epochs=settings["new_epochs"],
            learning_rate=settings["new_rate"],
            schedule="constant",
            weight_decay=decay,
            seed=seed,
        )
        after = train(model, mixed, later).history[-1]
        found = measure_forgetting(
            model, old=old.loader("test"), new=new.loader("test"), buffer=buffer, folds=3
        )
        row |= {
            "forgot": after.test_error - before.test_error,
            "energy": found.energy,
            "energy_new": found.energy_new,
            "random": found.random,
            "gap": found.gap,
            "inflation": _mean([c.inflation for c in found.classes]),
            "buffer_rank": _mean([c.buffer_rank for c in found.classes]),
            "drawn_rank": _mean([c.drawn_rank for c in found.classes]),
        }
        rows.append(row)

    def ranked(one: str, other: str) -> float:
        return float(spearmanr([r[one] for r in rows], [r[other] for r in rows]).statistic)

    values = {
        "incremental-overlap": -ranked("nc1", "cdnv"),
        "incremental-severe": -ranked("nc1", "forgot"),
        "incremental-forgets": ranked("cdnv", "forgot"),
        "incremental-energy": ranked("energy", "forgot"),
        "incremental-shallow": 100 * _mean([row["gap"] for row in rows]),
        "incremental-inflated": _mean([row["inflation"] for row in rows]),
    }
    return outcome(values, rows=rows)


def _overlap(model: nn.Sequential, old: Dataset, new: Dataset) -> float:
    """CDNV of old classes (test) against new ones (test) in what enters the head."""
    return cross_cdnv(
        penultimate(model, old.test_x), old.test_y, penultimate(model, new.test_x), new.test_y
    )


def _mean(values: list[Any]) -> float:
    return float(sum(values) / len(values))
