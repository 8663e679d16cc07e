"""Runs of the contradictions study: one experiment a pair."""

from __future__ import annotations

import math

from ncollapse.lab.contradicted import on_sphere, rare_grade
from ncollapse.lab.framed import best_frame, compared
from ncollapse.lab.grokking import HEAD, LOGITS, addition, follow
from ncollapse.lab.linear_codes import across, descended
from ncollapse.lab.onsets import followed, numbers
from ncollapse.lab.study import Outcome, Plan, outcome


def grokking(settings: Plan, seed: int) -> Outcome:
    """Addition modulo a prime: training and unseen samples, logits and hidden layer."""
    plan = settings["addition"]
    model, data = addition(plan["modulus"], plan["width"], seed)
    found = follow(model, data, 1.0, steps=plan["steps"], learning_rate=5e-3)
    hidden, logits = found.delay(HEAD), found.delay(LOGITS)
    ahead = {name: _number(one.precedes) for name, one in (("hidden", hidden), ("logits", logits))}
    values = {
        "contradictions-grokking-logits": ahead["logits"],
        "contradictions-grokking-hidden": ahead["hidden"],
        "contradictions-grokking-unseen": max(_number(hidden.together), _number(logits.together)),
    }
    return outcome(values, hidden=hidden.to_dict(), logits=logits.to_dict())


def frame(settings: Plan, seed: int) -> Outcome:
    """Frames and learned heads under imbalance; claims are on the largest ratio."""
    rows = [compared(settings["frame"], ratio, seed) for ratio in settings["frame"]["ratios"]]
    last, recall = rows[-1], rows[-1]["balanced"]
    adjusted = recall["learned adjusted"]
    values = {
        "contradictions-frame-plain": recall["frame regression"] - recall["learned"],
        "contradictions-frame-adjusted": adjusted - best_frame(last, adjusted=False),
        "contradictions-frame-loss": best_frame(last, adjusted=True) - adjusted,
    }
    return outcome(values, rows=rows)


def thresholds(settings: Plan, seed: int) -> Outcome:
    """A rare grade under learned and under fixed thresholds."""
    learned, fixed = (
        rare_grade(settings["grades"], settings["rarity"], seed, learn) for learn in (True, False)
    )
    values = {
        "contradictions-thresholds-line": learned["line"],
        "contradictions-thresholds-recall": fixed["rare"] - learned["rare"],
        "contradictions-thresholds-others": learned["others"] - fixed["others"],
    }
    return outcome(values, learned=learned, fixed=fixed)


def depth(settings: Plan, seed: int) -> Outcome:
    """Free features under one to five matrices, widths K, 2K and 8K, several starts."""
    plan, K = settings["codes"], settings["classes"]
    rows = [
        descended(K, M, times * K, settings["fit"], 1000 * seed + start, steps=3000)
        for M in plan["matrices"]
        for times in (1, 2, 8)
        for start in range(plan["starts"])
    ]
    return outcome(across(rows, K, settings["fit"]), rows=rows)


def norm(settings: Plan, seed: int) -> Outcome:
    """The feature norm at the onset of collapse, over settings of training."""
    runs = followed(settings["norm"], settings["widths"], seed)
    return outcome(numbers(runs), runs=runs)


def loss(settings: Plan, seed: int) -> Outcome:
    """Cross-entropy as it is and on the sphere."""
    plan, widths = settings["loss"], settings["widths"]
    plain, *rest = (on_sphere(plan, widths, scale, seed) for scale in (None, *plan["scales"]))
    values = {
        "contradictions-loss-reached": plain["own"]["angle"],
        "contradictions-loss-sphere": plain["own"]["angle"] / rest[0]["own"]["angle"],
        "contradictions-loss-raw": rest[0]["raw"]["nc1"] / plain["raw"]["nc1"],
    }
    return outcome(values, rows=[plain, *rest])


def _number(value: float | None) -> float:
    return math.nan if value is None else value
