"""Runs of the ood study: networks of several severities on class splits, pairs for the advice."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch

from ncollapse.downstream import ood
from ncollapse.downstream.advice import rule_of, within
from ncollapse.lab.held_out import Transfer, source_network, transfer
from ncollapse.lab.models import penultimate
from ncollapse.lab.ood_pairs import Scored, plans, rows_of, told_apart
from ncollapse.lab.readings import reading
from ncollapse.lab.study import Outcome, Plan, Units, outcome
from ncollapse.lab.train import Settings, train
from ncollapse.studies.ood.claims import STEPPED, TITLES


def split(settings: Plan, seed: int) -> Outcome:
    """One split of digits into seen and unseen: a network a decay, all from one start."""
    digits = transfer(settings["seen"], seed)
    rows = [_row(settings, digits, decay, seed) for decay in settings["decays"]]
    first, last = rows[0], rows[-1]

    def change(key: str) -> float:
        return 100 * (last["auroc"][key] - first["auroc"][key])

    own = {name: _lead(last["auroc"], name) for name in ("mahalanobis", "knn")}
    before = max(_lead(first["auroc"], name) for name in own)
    centring = [row["auroc"]["neco_centred"] - row["auroc"]["neco_raw"] for row in rows]
    values = {
        "ood-nc1": math.log10(first["nc1"] / last["nc1"]),
        "ood-accuracy": 100 * (last["accuracy"] - first["accuracy"]),
        "ood-nc5": last["nc5"] - first["nc5"],
        "ood-nc5-centred": last["nc5_centred"] - first["nc5_centred"],
        "ood-neco-centre": 100 * sum(centring) / len(centring),
        **{f"ood-gain-{name}": change(name) for name in TITLES},
        **{f"ood-lead-{name}": lead for name, lead in own.items()},
        "ood-lead-closes": max(own.values()) - before,
    }
    return outcome(values, classes=digits.classes, rows=rows)


def _lead(auroc: dict[str, float], name: str) -> float:
    """Points by which a score is ahead of the best of those that rest on collapse."""
    return 100 * (auroc[name] - max(auroc[other] for other in ood.COLLAPSE_BASED))


def _row(settings: Plan, digits: Transfer, decay: float, seed: int) -> dict[str, Any]:
    model = source_network(digits, seed)
    plan = Settings.of(settings, weight_decay=decay, seed=seed)
    last = train(model, digits.seen, plan).history[-1]
    scored = Scored.of(model, digits.seen)
    foreign = penultimate(model, digits.unseen_x)
    auroc = scored.auroc(digits.unseen_x)
    for name, center in (("neco_raw", False), ("neco_centred", True)):
        detector = ood.NECO(standardize=False, center=center).fit_reference(scored.reference)
        auroc[name] = told_apart(detector, scored.test, foreign)
    means, outside = scored.reference.summary.means, foreign.to(torch.float64).mean(0)
    return {
        "decay": decay,
        "accuracy": 1 - last.test_error,
        "train_error": last.train_error,
        "nc1": reading(model, digits.seen.loader("train")),
        "nc5": float(ood.nc5(means, outside)),
        "nc5_centred": float(ood.nc5(means, outside, means.mean(0))),
        "auroc": auroc,
    }


def combine(units: Units) -> dict[str, list[float]]:
    """The smallest step of the mean curve over severities."""
    runs = units["split"]
    if not runs:
        return {}
    found = {}
    for name in STEPPED:
        curve = [
            sum(run["rows"][place]["auroc"][name] for run in runs) / len(runs)
            for place in range(len(runs[0]["rows"]))
        ]
        steps = [100 * (b - a) for a, b in pairwise(curve)]
        found[f"ood-steps-{name}"] = [min(steps)]
    return found


def advice(settings: Plan, seed: int) -> Outcome:
    """Networks and foreign data that the rule was not set on: does it name a good score?"""
    plan, rows = settings["advice"], []
    number = plan["first"]
    for data in plan["data"]:
        for one in plans(plan["small"]):
            for _ in range(plan["each"]):
                rows += rows_of({**one, "data": data}, number)
                number += 1
    found = [
        {
            **{key: row[key] for key in ("data", "seed", "foreign", "auroc")},
            "rule": rule_of(row["document"]).score,
        }
        for row in rows
    ]
    named = within(found, [row["rule"] for row in found])
    always = within(found)
    values = {"ood-advice": named, "ood-advice-beats": named - always}
    return outcome(values, pairs=found, rule=named, always=always)
