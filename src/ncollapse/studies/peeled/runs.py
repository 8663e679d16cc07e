"""Runs of the peeled study: gradient flow without decay, KKT points, norms as constraints."""

from __future__ import annotations

from ncollapse.lab.critical import constructed
from ncollapse.lab.free import undecayed
from ncollapse.lab.merging import around
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.undecayed import FALLING, integration_error, late


def flows(settings: Plan, seed: int) -> Outcome:
    """Gradient flow from random starts: the margin, norms, loss, and NC1 to NC3 at its end."""
    problem, until = undecayed(settings), settings["until"]
    found = late(problem, _starts(seed, settings["starts"]), until)
    values = {
        "peeled-margin": min(found.share),
        "peeled-diverges": max(found.growth, key=lambda ratio: abs(ratio - 2)),
        "peeled-loss-law": max(found.loss, key=lambda ratio: abs(ratio - 1)),
        **{f"peeled-flow-{name}": max(found.powers[name]) for name in FALLING},
    }
    error = integration_error(problem, 1000 * seed, until)
    return outcome(values, **found.summary(), integration_error=error)


def narrow(settings: Plan, seed: int) -> Outcome:
    """The same at a width of exactly K."""
    problem = undecayed({**settings, "features": settings["classes"]})
    found = late(problem, _starts(seed, settings["narrow"]), settings["until"])
    return outcome({"peeled-margin-narrow": min(found.share)}, **found.summary())


def six(settings: Plan, seed: int) -> Outcome:
    """Six classes, wide and narrow."""
    plan = settings["six"]
    rows = {}
    for name, more in (("", 2), ("-narrow", 0)):
        problem = undecayed({**plan, "features": plan["classes"] + more})
        rows[f"peeled-margin-six{name}"] = late(
            problem, _starts(seed, plan["starts"]), settings["until"]
        )
    values = {name: min(found.share) for name, found in rows.items()}
    return outcome(values, rows=[found.summary() for found in rows.values()])


def _starts(seed: int, count: int) -> range:
    return range(1000 * seed, 1000 * seed + count)


def points(settings: Plan, seed: int) -> Outcome:
    """Constructed KKT points that are no simplices, and a small step out of each of them."""
    rows = [constructed(shape, size, settings["count"]) for shape, size in settings["points"]]
    residual, change = (max(row[key] for row in rows) for key in ("residual", "change"))
    return outcome({"peeled-kkt": residual, "peeled-descent": change}, rows=rows)


def threshold(settings: Plan, seed: int) -> Outcome:
    """Brute force on both sides of the computed imbalance from which on minorities merge."""
    rows = []
    for setting in settings["peeled"]:
        large, small, *energies = setting
        found = around(large, small, energies, settings["factors"], seed)
        rows += [{"setting": setting, **row} for row in found]
    agree = sum(row["agrees"] for row in rows) / len(rows)
    return outcome({"peeled-threshold": agree}, rows=rows)
