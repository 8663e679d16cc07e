"""All reference models of a part of the study as rows, from its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ncollapse.lab.calibration import truth
from ncollapse.lab.calibration.judged import row
from ncollapse.lab.calibration.looked import Look, Plan, moved, run
from ncollapse.lab.calibration.nets import BLOB_CLASSES, blobs
from ncollapse.lab.calibration.network_truth import nearest, of_training
from ncollapse.lab.calibration.populations import Sampled, population
from ncollapse.lab.data import geometric_counts
from ncollapse.lab.study import Plan as Settings

# Every so many runs, a copy whose head was moved by one class.
MOVED = 3


def drawn(settings: Settings) -> list[dict[str, Any]]:
    """Known populations, a draw of each."""
    rows = []
    for family in settings["families"]:
        for number in range(settings["each"]):
            known = population(family, number)
            name = f"{family}-{number}"
            truths = known.truths(settings["fresh_samples"], number + 1)
            rows.append(row(name, family, name, known.draw(known.counts, number), truths))
    return rows


def trained(settings: Settings, seed: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Networks as they train, on their training split; and which were left out."""
    rows: list[dict[str, Any]] = []
    notes = []
    for number, plan in enumerate(_plans(settings)):
        try:
            looks = run(plan, settings["looks"], seed).looks
        except ImportError as error:
            notes.append(f"{plan.name} is left out: {error}")
            continue
        family = plan.data if plan.data == "mnist" else plan.net
        rows += [
            row(_named(look), family, plan.name, look.sample, of_training(look)) for look in looks
        ]
        if number % MOVED == 0:
            sample = moved(looks[-1].sample)
            truths = {"dual": truth.NO, "nearest": nearest(sample)}
            rows.append(row(f"{plan.name} moved", family, plan.name, sample, truths))
    return rows, notes


def fresh(settings: Settings, seed: int) -> list[dict[str, Any]]:
    """Networks on known inputs, read on samples that they were not trained on."""
    rows = []
    each = settings["fresh_samples"]
    for plan in _plans(settings):
        counts = geometric_counts(plan.most, plan.fewest, BLOB_CLASSES)
        many = blobs(plan.data, (each,) * BLOB_CLASSES, seed, drawn=1)
        few = blobs(plan.data, counts, seed, drawn=2)
        known = run(plan, settings["looks"], seed, fresh=(many, few))
        for look, (crowd, sample) in zip(known.looks, known.others, strict=True):
            truths = _truths(crowd, sample)
            rows.append(row(f"{_named(look)} fresh", "fresh", plan.name, sample, truths))
    return rows


def _truths(crowd: Sampled, sample: Sampled) -> dict[str, str]:
    """Of a network, from many fresh samples."""
    features, labels = crowd.features, crowd.labels
    means = torch.stack([features[labels == k].mean(0) for k in range(len(crowd.weight))])
    share = truth.differing(features, labels, means, crowd.logits, sample.counts)
    return {
        "collapsed": truth.collapsed(features, labels),
        "frame": truth.frame(means),
        "dual": truth.dual(crowd.weight, means),
        "nearest": truth.nearest(share, share),
    }


def _plans(settings: Settings) -> list[Plan]:
    """The lines of the plan that a size takes, with its number of epochs."""
    plans = [Plan(*line) for line in settings["plan"][:: settings["every"]]]
    most = settings["epochs"]
    if most is None:
        return plans
    return [replace(plan, epochs=min(plan.epochs, most)) for plan in plans]


def _named(look: Look) -> str:
    return f"{look.plan.name} at {look.epoch}"
