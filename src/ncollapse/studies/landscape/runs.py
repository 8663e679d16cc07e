"""Runs of the landscape study: random starts, the zero threshold, a census, focal loss."""

from __future__ import annotations

import math

from ncollapse.lab.census import survey, verdicts
from ncollapse.lab.critical import focal_point, saddle
from ncollapse.lab.free import LOSSES, balanced, from_starts
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.losses import CrossEntropy, Focal
from ncollapse.theory.solvers.descent import descend

LIMIT = 200_000
# Far enough on either side of 1/(nK²) for descent to settle in float64.
NEAR = 0.05


def starts(settings: Plan, seed: int) -> Outcome:
    """Plain gradient descent from random starts, with the loss of the part."""
    loss, first = settings["loss"], 1000 * seed
    problem = balanced(settings["problem"], LOSSES[loss])
    found = from_starts(problem, range(first, first + settings["starts"]), max_iterations=LIMIT)
    return outcome({f"landscape-{loss}-starts": max(found["gaps"])}, **found)


def zero(settings: Plan, seed: int) -> Outcome:
    """Just above and just below the decay at which nothing is learnt, λ_W λ_H = 1/(nK²)."""
    known = settings["problem"]
    K = known["classes"]
    above, below = (
        balanced(known, CrossEntropy(), decay=math.sqrt(factor / known["count"]) / K)
        for factor in (1 + NEAR, 1 - NEAR)
    )
    wanted = math.log(1 / (below.tau / math.sqrt(K)) - K + 1)
    margin = descend(below, seed=seed).margins
    values = {
        "landscape-zero-above": float(descend(above, seed=seed).logits.abs().max()),
        "landscape-zero-below": float((margin / wanted - 1).abs().max()),
    }
    return outcome(values, margin=margin, wanted=wanted)


def census_of(settings: Plan, seed: int) -> Outcome:
    """Critical points from random starts, by loss, bias and counts: what each of them is."""
    rows, tallies = survey(settings["census"], seed)
    values = {f"landscape-saddle-{key}": value for key, value in verdicts(rows, tallies).items()}
    return outcome(values, rows=rows, tallies=tallies)


def saddles(settings: Plan, seed: int) -> Outcome:
    """The optimum cut to each rank r = 0 … K-2 and settled there: gradient, curvature, escape."""
    rows = []
    for name in ("ce", "mse"):
        problem = balanced(settings["problem"], LOSSES[name])
        optimum = descend(problem, seed=seed).extra["point"]
        for rank in range(problem.num_classes - 1):
            found = saddle(problem, optimum, rank, seed=seed, max_iterations=LIMIT)
            rows.append({"loss": name, **found})
    return outcome({"landscape-escape": max(row["escaped"] for row in rows)}, rows=rows)


def focal(settings: Plan, seed: int) -> Outcome:
    """The focal loss over decays: probability p_y, the convex envelope's p₀(γ), and the gap."""
    known = settings["focal"]
    rows = [
        focal_point(balanced(known, Focal(gamma), decay=decay), gamma)
        for gamma in known["gammas"]
        for decay in known["decays"]
    ]
    # Without a bound nothing is certified: that is an open gap too.
    closed = [math.inf if r["gap"] is None else r["gap"] for r in rows if r["p"] >= r["limit"]]
    opened = [1.0 if r["gap"] is None else r["gap"] for r in rows if r["p"] < r["limit"]]
    values = {
        "landscape-focal-certified": max(closed, default=math.nan),
        "landscape-focal-open": min(opened, default=math.nan),
    }
    return outcome(values, rows=rows)
