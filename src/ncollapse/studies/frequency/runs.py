"""Runs of the frequency study: three groups of free features, networks on long-tailed digits."""

from __future__ import annotations

import numpy as np

from ncollapse.lab.blocks import block_errors
from ncollapse.lab.compared import CLASSES
from ncollapse.lab.data import geometric_counts
from ncollapse.lab.free import arrays
from ncollapse.lab.networks import train_network
from ncollapse.lab.statistics import slope
from ncollapse.lab.study import Outcome, Plan, outcome


def blocks(settings: Plan, seed: int) -> Outcome:
    """Cross-entropy with three groups of counts by descent: blocks, and the solver's blocks."""
    found = block_errors(settings["groups"], settings["decay"], seed)
    return outcome({"frequency-blocks": max(found["errors"].values())}, **found)


def lengths(settings: Plan, seed: int) -> Outcome:
    """Networks on long-tailed digits without a bias: how lengths go with counts."""
    counts = geometric_counts(settings["largest"], settings["smallest"], CLASSES)
    how = {key: settings[key] for key in ("epochs", "learning_rate")}
    rows = {}
    for loss in ("mse", "ce"):
        found = train_network(counts, settings["decay"], seed=seed, loss=loss, **how)
        weight, means = (rows.norm(dim=1).numpy() for rows in arrays(found.geometry))
        powers = [slope(np.log(counts), np.log(norms)) for norms in (means, weight)]
        errors = {"nc1": found.nc1, "train_error": found.train_error}
        rows[loss] = {"means": means, "weights": weight, "powers": powers, **errors}
    values = {
        "frequency-means-mse": rows["mse"]["powers"][0],
        "frequency-means-ce": rows["ce"]["powers"][0],
        "frequency-weights-mse": rows["mse"]["powers"][1],
    }
    return outcome(values, counts=counts, rows=rows)
