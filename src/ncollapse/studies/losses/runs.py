"""Runs of the losses study: frames and rates of NC1 on free features, then both on networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ncollapse.lab.cosines import frame_gap
from ncollapse.lab.data import digits
from ncollapse.lab.free import (
    LOSSES,
    balanced,
    between_frames,
    descent_with_decay,
    trained,
    undecayed,
)
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import nc1_curve
from ncollapse.lab.samples import subset
from ncollapse.lab.statistics import jackknife, slope
from ncollapse.lab.study import Outcome, Plan, Units, outcome
from ncollapse.lab.train import Settings, train
from ncollapse.losses import CrossEntropy, Loss, MeanSquaredError
from ncollapse.theory.solvers.flow import flow

LEARNING_RATE = 0.05
POINTS = 60
DECAY = 5e-4


def frames(settings: Plan, seed: int) -> Outcome:
    """Four losses with a bias, mean squared error without one, and with decayed ones."""
    ufm = settings["ufm"]

    def gap(loss: Loss, bias: str) -> float:
        found = trained(balanced(ufm, loss, bias), seed)
        return max(frame_gap(rows, centred=bias == "free") for rows in found)

    gaps = {name: gap(loss, "free") for name, loss in LOSSES.items()}
    orthogonal = gap(MeanSquaredError(), "none")
    path = [between_frames(ufm, decay, seed) for decay in settings["bias_decays"]]
    values = {
        "losses-frame": max(gaps.values()),
        "losses-orthogonal": orthogonal,
        "losses-path": max(row[3] for row in path),
    }
    return outcome(values, gaps=gaps, orthogonal=orthogonal, path=path)


def rates(settings: Plan, seed: int) -> Outcome:
    """NC1 of free features along gradient descent with decay, and along the flow without."""
    ufm, total = settings["ufm"], settings["steps"]
    problem = balanced(ufm, CrossEntropy())
    steps, nc1 = descent_with_decay(
        problem, total, learning_rate=LEARNING_RATE, looks=POINTS, seed=seed
    )
    late = steps >= total / 3
    fitted = slope(steps[late], np.log(nc1[late]))
    predicted = -2 * LEARNING_RATE * ufm["feature_decay"]
    path = flow(undecayed(ufm), seed=seed, until=settings["until"])
    kept = path.t >= 1e4
    times, within = path.t[kept], path.nc1[kept]
    values = {
        "losses-nc1-decay": fitted / predicted,
        "losses-nc1-log": slope(np.log(np.log(times)), np.log(within)),
    }
    late_flow = {"times": times, "nc1_flow": within}
    return outcome(values, steps=steps, nc1=nc1, slope=fitted, predicted=predicted, **late_flow)


# ---- networks -------------------------------------------------------------------
def accuracies(settings: Plan, seed: int) -> Outcome:
    """Test accuracy of the four losses on a wide and a narrow network."""
    data = subset(digits(seed=seed), settings["samples"], seed)
    found: dict[str, dict[str, float]] = {name: {} for name in settings["widths"]}
    for name, width in settings["widths"].items():
        for loss in LOSSES:
            model = mlp(64, (width,) * 3, data.num_classes, seed=seed)
            chosen = Settings(epochs=settings["epochs"], weight_decay=DECAY, loss=loss, seed=seed)
            found[name][loss] = 100 * (1 - train(model, data, chosen).history[-1].test_error)
    return outcome(accuracy=found)


def combine(units: Units) -> dict[str, list[float]]:
    """The spread of mean accuracies over losses, as one jackknife value a seed: its mean corrects
    the bias that noise gives a spread, its scatter is the uncertainty."""
    rows = [unit["accuracy"] for unit in units["networks"]]
    judged = {"wide": list(LOSSES), "narrow": [name for name in LOSSES if name != "mse"]}
    return {
        f"losses-accuracy-{name}": jackknife([[row[name][loss] for loss in some] for row in rows])
        for name, some in (judged.items() if rows else ())
    }


def slopes(settings: Plan, seed: int) -> Outcome:
    """NC1 of a network at a constant rate: with decay, fitted after `from` epochs; and longer
    without, fitted after a tenth of all steps."""
    plan = settings["slope"]
    some = subset(digits(seed=seed), settings["samples"], seed)
    how = Settings(
        epochs=plan["epochs"], weight_decay=plan["decay"], schedule="constant", seed=seed
    )
    bare = replace(how, epochs=settings["undecayed"], weight_decay=0.0)
    decayed, free = nc1_curve(some, how), nc1_curve(some, bare)
    predicted = -2 * how.learning_rate / (1 - how.momentum) * plan["decay"]
    steps, nc1 = decayed.since(plan["from"] * decayed.steps[-1] / plan["epochs"])
    late, within = free.since(free.steps[-1] / 10)
    values = {
        "losses-network-decay": slope(steps, np.log(nc1)) / predicted,
        "losses-network-log": slope(np.log(np.log(late)), np.log(within)),
    }
    looks = {"decay": decayed, "none": free}
    curves = {name: {"steps": one.steps, "nc1": one.values} for name, one in looks.items()}
    return outcome(values, predicted=predicted, **curves)
