"""Runs of the incremental study: sessions under four arms, and base models of growing severity."""

from __future__ import annotations

from typing import Any

from scipy.stats import spearmanr

from ncollapse.downstream.incremental import IncrementalLearner, Recipe
from ncollapse.lab.models import mlp
from ncollapse.lab.sessions import Sessions, shuffled_classes, tuned
from ncollapse.lab.severities import average, severities
from ncollapse.lab.study import Outcome, Plan, outcome

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
    rows = severities(settings, shuffled_classes(seed), BASE, LATER[0], seed)

    def ranked(one: str, other: str) -> float:
        return float(spearmanr([r[one] for r in rows], [r[other] for r in rows]).statistic)

    values = {
        "incremental-overlap": -ranked("nc1", "cdnv"),
        "incremental-severe": -ranked("nc1", "forgot"),
        "incremental-forgets": ranked("cdnv", "forgot"),
        "incremental-energy": ranked("energy", "forgot"),
        "incremental-shallow": 100 * average([row["gap"] for row in rows]),
        "incremental-inflated": average([row["inflation"] for row in rows]),
    }
    return outcome(values, rows=rows)
