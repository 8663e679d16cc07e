"""Runs of the minority study: a grid of free features by descent, networks past the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ncollapse.lab.compared import compare, largest_gap, two_groups
from ncollapse.lab.merging import accuracies, begin, merges, spreads
from ncollapse.lab.study import Outcome, Plan, outcome


def grid(settings: Plan, seed: int) -> Outcome:
    """Ratios × decays: does descent merge the minority where the threshold says so?

    The levels are multiples of the predicted threshold, none at 1: between two of them lies the
    predicted boundary, and the trained one lies where merging begins.
    """
    (large, small), few = settings["classes"], settings["minority"]
    ratios, levels = settings["ratios"], settings["levels"]
    tables = [
        spreads((few * ratio,) * large + (few,) * small, [*levels, 2.0], seed) for ratio in ratios
    ]
    rows = [row[:-1] for row in tables]
    border = sum(level < 1 for level in levels)
    mixed = [any(map(merges, row)) and not all(map(merges, row)) for row in rows]
    values = {
        "minority-grid": max(abs(begin(row) - border) for row in rows),
        "minority-ratio": sum(mixed) / len(mixed),
        "minority-free-merge": max(row[-1] for row in tables),
    }
    return outcome(values, ratios=ratios, levels=levels, spread=rows)


def network(settings: Plan, seed: int) -> Outcome:
    """Digits before and past the transition."""
    plans = settings["before"], *settings["past"]
    before, *past = (_row(plan, settings["epochs"], seed) for plan in plans)
    cosines = [(row["measured"], row["predicted"]) for row in past]
    values = {
        "minority-network-before": before["measured"][2],
        "minority-network-merge": min(measured[2] for measured, _ in cosines),
        "minority-network-blocks": max(largest_gap(a[:2], b[:2]) for a, b in cosines),
        "minority-network-inside": max(largest_gap(a[2:], b[2:]) for a, b in cosines),
        "minority-head": max(row["head_among"] for row in past),
        "minority-centres": min(row["centres_among"] - row["head_among"] for row in past),
        "minority-recall-head": max(row["head"] for row in past),
        "minority-recall-centres": min(row["centres"] for row in past),
    }
    return outcome(values, before=before, past=past)


def _row(setting: Sequence[Any], epochs: int, seed: int) -> Outcome:
    """A network of [majority count, minority count, decay], read and predicted."""
    majority, minority, decay = setting
    counts = two_groups(majority, minority)
    found = compare(counts, decay, epochs, seed)
    cosines = found.facts("measured", "predicted", "means", "means_predicted")
    fit = found.facts("tau", "logit_error", "collapsed")
    return {"counts": counts, "decay": decay, **cosines, **fit, **accuracies(found.network)}
