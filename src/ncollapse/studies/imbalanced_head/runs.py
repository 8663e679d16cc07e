"""Runs of the imbalanced-head study: learned and fixed heads on long-tailed digits."""

from __future__ import annotations

from torch import nn

from ncollapse.control.losses import DotRegressionLoss, LogitAdjustedLoss
from ncollapse.control.surgery import fix_head
from ncollapse.lab.compared import CLASSES
from ncollapse.lab.cosines import cosines, pairs
from ncollapse.lab.data import digits, geometric_counts, long_tailed
from ncollapse.lab.evaluate import decisions
from ncollapse.lab.free import arrays
from ncollapse.lab.networks import bare, directions, read
from ncollapse.lab.readings import reading, recalls
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Loss, Settings, train
from ncollapse.theory.subjects.fit import fit_tau

SIMPLEX = -1 / (CLASSES - 1)


def tail(settings: Plan, seed: int) -> Outcome:
    """Four networks from one start. Beside the two that are compared: the frame without the loss,
    and a remedy that leaves the head to be learned."""
    counts = geometric_counts(settings["largest"], settings["smallest"], CLASSES)
    # Two thirds for training leave 116 samples of every class there, and 58 of it to test on.
    data = long_tailed(digits(seed=seed), counts, seed)
    rare = CLASSES - settings["minority"]
    rows: dict[str, Outcome] = {}
    models: dict[str, nn.Sequential] = {}
    losses: dict[str, Loss] = {
        "learned": nn.functional.cross_entropy,
        "adjusted": LogitAdjustedLoss(counts),
        "fixed_ce": nn.functional.cross_entropy,
        "fixed": DotRegressionLoss(),
    }
    for arm, loss in losses.items():
        model = bare(data, seed)
        if arm.startswith("fixed"):
            fix_head(model, head="simplex", bias=False, normalize=arm == "fixed", seed=seed)
        last = train(model, data, Settings.of(settings, loss=loss, seed=seed)).history[-1]
        recall = recalls(decisions(model, data, "test")[0], data.test_y)
        models[arm] = model
        rows[arm] = {
            "recall": recall,
            "minority": sum(recall[rare:]) / settings["minority"],
            "all": sum(recall) / CLASSES,
            "train_error": last.train_error,
            "nc1": reading(model, data.loader("train")),
            "mean_cosines": pairs(cosines(directions(model, data)[rare:])),
        }
    geometry, _ = read(models["learned"], data)
    fit = fit_tau(geometry, counts, loss="ce", bias="none")
    found, wanted = (
        pairs(cosines(arrays(either)[0])[rare:, rare:])
        for either in (geometry, fit.prediction.geometry)
    )
    fixed, learned = rows["fixed"], rows["learned"]
    values = {
        "imbalanced-head-recall": 100 * (fixed["minority"] - learned["minority"]),
        "imbalanced-head-accuracy": 100 * (fixed["all"] - learned["all"]),
        "imbalanced-head-learned": float((found - wanted).abs().mean()),
        "imbalanced-head-crowded": float(found.mean()) - SIMPLEX,
        "imbalanced-head-means": float((fixed["mean_cosines"] - SIMPLEX).abs().mean()),
    }
    return outcome(
        values,
        counts=counts,
        rows=rows,
        measured=found,
        predicted=wanted,
        tau=fit.tau,
        logit_error=fit.logit_error,
    )
