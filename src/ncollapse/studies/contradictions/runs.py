"""Runs of the contradictions study: one experiment a pair."""

from __future__ import annotations

from ncollapse.lab import contradicted, framed, onsets
from ncollapse.lab.linear_codes import across, descents
from ncollapse.lab.study import Outcome, Plan, outcome


def grokking(settings: Plan, seed: int) -> Outcome:
    """Addition modulo a prime: training and unseen samples, logits and hidden layer."""
    values, rows = contradicted.grokked(settings["addition"], seed)
    return outcome(values, **rows)


def frame(settings: Plan, seed: int) -> Outcome:
    """Frames and learned heads under imbalance; claims are on the largest ratio."""
    plan = settings["frame"]
    rows = [framed.compared(plan, ratio, seed) for ratio in plan["ratios"]]
    return outcome(framed.numbers(rows[-1]), rows=rows)


def thresholds(settings: Plan, seed: int) -> Outcome:
    """A rare grade under learned and under fixed thresholds."""
    values, rows = contradicted.thresholds(settings["grades"], settings["rarity"], seed)
    return outcome(values, **rows)


def depth(settings: Plan, seed: int) -> Outcome:
    """Free features under one to five matrices, widths K, 2K and 8K, several starts."""
    plan, K = settings["codes"], settings["classes"]
    rows = descents(plan, K, settings["fit"], seed)
    return outcome(across(rows, K, settings["fit"]), rows=rows)


def norm(settings: Plan, seed: int) -> Outcome:
    """The feature norm at the onset of collapse, over settings of training."""
    runs = onsets.followed(settings["norm"], settings["widths"], seed)
    return outcome(onsets.numbers(runs), runs=runs)


def loss(settings: Plan, seed: int) -> Outcome:
    """Cross-entropy as it is and on the sphere."""
    values, rows = contradicted.spheres(settings["loss"], settings["widths"], seed)
    return outcome(values, rows=rows)
