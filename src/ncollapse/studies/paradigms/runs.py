"""Runs of the paradigms study: one sweep of set points, and one of training against attacks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from torch import nn

from ncollapse.downstream.attacks import PGD
from ncollapse.errors import NCollapseWarning
from ncollapse.lab.hardened import harden, held_against, network
from ncollapse.lab.held_out import Transfer, transfer
from ncollapse.lab.models import penultimate
from ncollapse.lab.onward import out_of_distribution
from ncollapse.lab.readings import few_shot, reading
from ncollapse.lab.struck import CLIP, looked, withstood
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings


def sweep(settings: Plan, seed: int) -> Outcome:
    """Networks held at every set point: what each serves, and how far attacks turn its means."""
    digits = transfer(settings["seen"], seed)
    how = Settings(epochs=settings["epochs"], weight_decay=settings["weight_decay"], seed=seed)
    rows = []
    for point in settings["points"]:
        with _quiet():
            model, accuracy = network(digits.seen, how, point)
        features = penultimate(model, digits.unseen_x)
        few = few_shot(features, digits.unseen_y, draws=settings["draws"], seed=seed)
        rows.append(
            {
                "point": point,
                "nc1": reading(model, digits.seen.loader("train")),
                "classification": accuracy,
                "ood": out_of_distribution(model, digits)[0],
                "transfer": few,
            }
        )
    reached = [row["nc1"] for row in rows]
    values = {
        "paradigms-severity": math.log10(max(reached) / min(reached)),
        **{f"paradigms-{key}": _place(rows, key) for key in ("classification", "ood", "transfer")},
    }
    return outcome(values, rows=rows)


def hard(settings: Plan, seed: int) -> Outcome:
    """The same set points held while training against attacks, and the angles without that."""
    digits = transfer(settings["seen"], seed)
    plain = Settings(epochs=settings["epochs"], weight_decay=settings["weight_decay"], seed=seed)
    how = Settings(epochs=settings["hard_epochs"], weight_decay=settings["weight_decay"], seed=seed)
    attack = PGD(settings["eps"], steps=settings["hard_steps"], clip=CLIP)
    rows = []
    for point in settings["points"]:
        with _quiet():
            hardened, _ = harden(digits.seen, how, held_against(point), attack)
            standard, _ = network(digits.seen, plain, point)
        steps = settings["steps"]
        rows.append(
            {
                "point": point,
                "nc1": reading(hardened, digits.seen.loader("train")),
                "withstood": withstood(hardened, digits.seen, settings["eps"], steps, seed),
                "angle": _angle(hardened, digits, settings, seed),
                "standard": _angle(standard, digits, settings, seed),
            }
        )
    best = max(rows, key=lambda row: row["withstood"])
    values = {
        "paradigms-aligned": best["angle"],
        "paradigms-standard": min(row["standard"] for row in rows),
    }
    return outcome(values, rows=rows)


def _angle(model: nn.Module, digits: Transfer, settings: Plan, seed: int) -> float:
    """Degrees between clean and attacked class means, training split."""
    eps, steps = settings["eps"], settings["steps"]
    found = looked(
        model, digits.seen, eps, test=False, noise=False, walked=0, steps=steps, seed=seed
    )
    return float(found["train@pgd"]["mean_angle"])


def _place(rows: Sequence[dict[str, Any]], key: str) -> float:
    """Where the best row stands, 0 for the first and 1 for the last; of equals the first."""
    best = max(range(len(rows)), key=lambda i: rows[i][key])
    return best / (len(rows) - 1)


def _quiet() -> Any:
    """A set point out of reach is a result here; what is reached is kept."""
    return warnings.catch_warnings(action="ignore", category=NCollapseWarning)
