"""Runs of the grokking study: one network a decay on few digits, and addition modulo a prime."""

from __future__ import annotations

import math

from ncollapse.downstream.delay import decades
from ncollapse.lab.grokking import (
    ACCURACY,
    HEAD,
    LOGITS,
    NC1,
    addition,
    curves_of,
    follow,
    late_digits,
)
from ncollapse.lab.statistics import slope
from ncollapse.lab.study import Outcome, Plan, outcome


def small_data(settings: Plan, seed: int) -> Outcome:
    """Few digits from a large start, at several decays: the same start and samples."""
    plan = settings["digits"]
    rows = [late_digits(plan, decay, seed) for decay in plan["decays"]]
    slowest = min(rows, key=lambda row: float(row["decay"]))
    late = [row["test"] for row in rows]
    logs = [math.nan if step is None else math.log(step) for step in late]
    values = {
        "grokking-delay": slowest["decades"],
        "grokking-exponent": slope([math.log(row["decay"]) for row in rows], logs),
        "grokking-together": max(abs(_number(row["together"])) for row in rows),
        "grokking-lag": min(_number(decades(row["train"], row["collapse_train"])) for row in rows),
        "grokking-precedes": min(_number(row["precedes"]) for row in rows),
        "grokking-simplex": min(row["frame"] for row in rows),
    }
    return outcome(values, rows=rows)


def modular(settings: Plan, seed: int) -> Outcome:
    """Addition modulo a prime, read at the hidden layer and at the logits."""
    plan = settings["addition"]
    model, data = addition(plan["modulus"], plan["width"], seed)
    how = {name: plan[name] for name in ("steps", "learning_rate")}
    found = follow(model, data, plan["decay"], **how)
    delay = found.delay(LOGITS)
    ends = {name: found.last(split, key, layer) for name, (split, key, layer) in NC1.items()}
    together = delay.together
    values = {
        "grokking-addition-delay": delay.decades,
        "grokking-addition-hidden": ends[f"train {HEAD}"],
        "grokking-addition-logits": max(ends[f"train {LOGITS}"], ends[f"test {LOGITS}"]),
        "grokking-addition-precedes": delay.precedes,
        "grokking-addition-together": together,
    }
    return outcome(
        values, ends=ends, curves=curves_of(found, {**ACCURACY, **NC1}), **delay.to_dict()
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
