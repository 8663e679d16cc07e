"""Runs of the ood study: networks of several severities on class splits, pairs for the advice."""

from __future__ import annotations

import math
from itertools import pairwise

from ncollapse.downstream.advice import rule_of, within
from ncollapse.lab.held_out import transfer
from ncollapse.lab.ood_pairs import plans, rows_of
from ncollapse.lab.ood_severity import lead, severity_row
from ncollapse.lab.study import Outcome, Plan, Units, outcome
from ncollapse.studies.ood.claims import STEPPED, TITLES


def split(settings: Plan, seed: int) -> Outcome:
    """One split of digits into seen and unseen: a network a decay, all from one start."""
    digits = transfer(settings["seen"], seed)
    rows = [severity_row(settings, digits, decay, seed) for decay in settings["decays"]]
    first, last = rows[0], rows[-1]

    def change(key: str) -> float:
        return 100 * (last["auroc"][key] - first["auroc"][key])

    own = {name: lead(last["auroc"], name) for name in ("mahalanobis", "knn")}
    before = max(lead(first["auroc"], name) for name in own)
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
