"""Runs of the prescription study: thresholds under weights by descent, remedies on digits."""

from __future__ import annotations

from ncollapse.lab.compared import two_groups
from ncollapse.lab.data import digits, long_tailed
from ncollapse.lab.networks import TEST_SHARE
from ncollapse.lab.prescribed import around, certified, fitted, predicted, remedies, treated
from ncollapse.lab.study import Outcome, Plan, outcome


def free(settings: Plan, seed: int) -> Outcome:
    """Free features: descent a little below and above the threshold of weighted classes, and
    prescriptions for random counts."""
    pairs = [
        around(counts, few, level, settings["beside"], seed)
        for counts, few in settings["free"]
        for level in settings["levels"]
    ]
    rows = certified(settings["draws"], seed)
    values = {
        "prescription-below": max(below for below, _ in pairs),
        "prescription-above": min(above for _, above in pairs),
        "prescription-certified": max(row["gap"] for row in rows),
        "prescription-apart": min(row["apart"] for row in rows),
    }
    return outcome(values, pairs=pairs, rows=rows)


def network(settings: Plan, seed: int) -> Outcome:
    """Digits whose minority merges, and the same network under four remedies."""
    majority, minority, decay = settings["setting"]
    counts = two_groups(majority, minority)
    data = long_tailed(digits(TEST_SHARE, seed), counts, seed)
    plan = data, decay, settings["epochs"], seed
    plain, model = treated("plain", "ce", *plan)
    found, fit = fitted(model, data, counts, settings["margin"])
    rows = {"plain": plain}
    for arm, loss in remedies(counts, found).items():
        rows[arm] = treated(arm, loss, *plan)[0]
    wanted, mine = predicted(found), rows["prescribed"]
    others = max(rows[arm]["all"] for arm in ("effective", "adjusted", "frame"))
    values = {
        "prescription-merged": plain["cosines"][2],
        "prescription-restored": mine["cosines"][2],
        "prescription-predicted": abs(mine["cosines"][2] - wanted[2]),
        "prescription-adjusted": rows["adjusted"]["cosines"][2],
        "prescription-recall": 100 * (mine["minority"] - plain["minority"]),
        "prescription-overall": 100 * (mine["all"] - plain["all"]),
        "prescription-not-the-most": 100 * (others - mine["all"]),
    }
    facts = {"tau": fit.tau, "logit_error": fit.logit_error, "ratio": found.ratio}
    facts |= {"reach": found.reach, "margin": found.margin}
    return outcome(
        values, rows=rows, predicted=wanted, weights=found.weights, counts=counts, **facts
    )
