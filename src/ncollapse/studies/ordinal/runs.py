"""Runs of the ordinal study: positions of trained networks, the phase transition, rare grades."""

from __future__ import annotations

import math

import torch

from ncollapse.lab import graded
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.theory.problems.ordinal import OrdinalUFM
from ncollapse.theory.solve import solve
from ncollapse.theory.subjects.rare_grade import merging_ratio, rare_grade

LINKS = ("logit", "probit", "cloglog")
RARE = 2


def network(settings: Plan, seed: int) -> Outcome:
    """A network on five grades of the data set `data`, read at the end of training."""
    name = settings["data"]
    x, y = graded.DATA[name]()
    found = graded.read(graded.train(x, y, settings, seed), x, y)
    values = {f"ordinal-{name}-{key}": found[key] for key in ("places", "line", "order")}
    return outcome(values, **found)


def phases(settings: Plan, seed: int) -> Outcome:
    """Free features by descent from a random start, at multiples of C, for three links."""
    counts, ends = tuple(settings["counts"]), tuple(settings["ends"])
    rows = []
    for link in LINKS:
        C = OrdinalUFM(counts, link=link, thresholds=ends).zero_threshold()
        for factor in settings["factors"]:
            problem = OrdinalUFM(
                counts, link=link, thresholds=ends, weight_decay=factor * C, feature_decay=1.0
            )
            norm = graded.descended(problem, seed, **settings["free"])
            rows.append([link, factor, norm, float(solve(problem).extra["weight_norm"])])
    values = {
        "ordinal-phase-below": max(abs(row[2] / row[3] - 1) for row in rows if row[1] < 1),
        "ordinal-phase-above": max(row[2] for row in rows if row[1] > 1),
    }
    return outcome(values, rows=rows)


def solver(settings: Plan, seed: int) -> Outcome:
    """The middle of five grades made rarer, thresholds learned and fixed, by the solver."""
    ratios, Q = settings["ratios"], graded.GRADES
    free = [rare_grade(Q, RARE, r, learn=True) for r in ratios]
    held = [rare_grade(Q, RARE, r, learn=False) for r in ratios]
    a, b = free[-2:]
    values = {
        "ordinal-rare-width": math.log(b.width / a.width) / math.log(b.ratio / a.ratio),
        "ordinal-rare-fixed": max(abs(found.position) / found.width for found in held),
    }
    widths = {"widths": [one.width for one in free], "fixed": [one.width for one in held]}
    return outcome(values, ratios=ratios, merging=merging_ratio(Q, RARE, learn=True), **widths)


def rare(settings: Plan, seed: int) -> Outcome:
    """Digits by ink with most of the middle grade left out: a network that learns its thresholds
    against the solver, and one whose thresholds stay."""
    x, y = graded.thinned(*graded.ink(), RARE, settings["rarity"], seed)
    counts = tuple(torch.bincount(y, minlength=graded.GRADES).tolist())
    ends = solve(OrdinalUFM(counts, learn_thresholds=True)).extra["ends"]
    predicted = float(ends[RARE + 1] - ends[RARE])
    learned, fixed = (
        graded.decided(graded.train(x, y, settings, seed, learn), x, y, RARE)
        for learn in (True, False)
    )
    values = {
        "ordinal-rare-network": learned["width"] / predicted,
        "ordinal-rare-recall-learned": learned["recall"],
        "ordinal-rare-recall-fixed": fixed["recall"],
    }
    return outcome(values, counts=list(counts), predicted=predicted, learned=learned, fixed=fixed)
