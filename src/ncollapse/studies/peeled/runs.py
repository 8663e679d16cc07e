"""Runs of the peeled study: gradient flow without decay, KKT points, norms as constraints."""

from __future__ import annotations

import numpy as np

from ncollapse.lab.critical import constructed
from ncollapse.lab.free import undecayed
from ncollapse.lab.merging import around
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.theory.solvers.flow import flow


def flows(settings: Plan, seed: int) -> Outcome:
    """Gradient flow from random starts: share of the maximal margin, growth of the norms."""
    problem = undecayed(settings)
    shares, growth, paths = [], [], []
    for start in range(settings["starts"]):
        path = flow(problem, seed=1000 * seed + start, until=settings["until"])
        assert path.largest_margin is not None
        share = path.normalised_margin / path.largest_margin
        square = path.weight_norm**2 + path.feature_norm**2
        early = int(np.searchsorted(path.t, 1e5))
        shares.append(float(share[-1]))
        growth.append(float(square[-1] / square[early]))
        paths.append(share[path.t >= 1])
    values = {"peeled-margin": min(shares), "peeled-diverges": min(growth)}
    return outcome(values, shares=shares, growth=growth, t=path.t[path.t >= 1], paths=paths)


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
