"""Runs of the imbalanced-head study: learned and fixed heads on long-tailed digits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.control.heads import SimplexHead
from ncollapse.control.losses import DotRegressionLoss, LogitAdjustedLoss
from ncollapse.control.surgery import fix_head
from ncollapse.lab.control_parts import reading, recalls
from ncollapse.lab.data import Dataset, digits, geometric_counts, long_tailed
from ncollapse.lab.evaluate import decisions
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.networks import WIDTHS, cosines, pairs, read
from ncollapse.lab.study import Units
from ncollapse.lab.train import Loss, Settings, train
from ncollapse.theory.subjects.fit import fit_tau

CLASSES = 10
NAMES = {
    "learned": "learned, cross-entropy",
    "adjusted": "learned, logit adjustment",
    "fixed_ce": "fixed, cross-entropy",
    "fixed": "fixed, dot regression",
}


def tail(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Four networks from one start. Beside the two that are compared: the frame without the loss,
    and a remedy that leaves the head to be learned."""
    counts = geometric_counts(settings["largest"], settings["smallest"], CLASSES)
    # Two thirds for training leave 116 samples of every class there, and 58 of it to test on.
    data = long_tailed(digits(seed=seed), counts, seed)
    rare = CLASSES - settings["minority"]
    rows: dict[str, dict[str, Any]] = {}
    models: dict[str, nn.Sequential] = {}
    losses: dict[str, Loss] = {
        "learned": nn.functional.cross_entropy,
        "adjusted": LogitAdjustedLoss(counts),
        "fixed_ce": nn.functional.cross_entropy,
        "fixed": DotRegressionLoss(),
    }
    for arm, loss in losses.items():
        model = mlp(data.num_features, WIDTHS, CLASSES, bias=False, last_relu=False, seed=seed)
        if arm.startswith("fixed"):
            fix_head(model, head="simplex", bias=False, normalize=arm == "fixed", seed=seed)
        how = Settings(
            epochs=settings["epochs"],
            batch_size=settings["batch_size"],
            weight_decay=settings["weight_decay"],
            loss=loss,
            seed=seed,
        )
        last = train(model, data, how).history[-1]
        decided, _ = decisions(model, data, "test")
        recall = recalls(decided, data.test_y)
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
    measured, aim = geometry.weight, fit.prediction.geometry.weight
    assert measured is not None and aim is not None
    found, wanted = (pairs(cosines(rows_)[rare:, rare:]) for rows_ in (measured, aim))
    simplex = -1 / (CLASSES - 1)
    fixed = rows["fixed"]
    return {
        "values": {
            "imbalanced-head-recall": 100 * (fixed["minority"] - rows["learned"]["minority"]),
            "imbalanced-head-accuracy": 100 * (fixed["all"] - rows["learned"]["all"]),
            "imbalanced-head-learned": float((found - wanted).abs().mean()),
            "imbalanced-head-crowded": float(found.mean()) - simplex,
            "imbalanced-head-means": float((fixed["mean_cosines"] - simplex).abs().mean()),
        },
        "data": {
            "counts": counts,
            "rows": rows,
            "measured": found,
            "predicted": wanted,
            "tau": fit.tau,
            "logit_error": fit.logit_error,
        },
    }


def directions(model: nn.Sequential, data: Dataset) -> Float[Tensor, "classes dim"]:
    """Class means on the training split of what the head multiplies: normalised features, where a
    fixed head normalises them, else centred ones."""
    features = penultimate(model, data.train_x).double()
    head = model.get_submodule("head")
    if isinstance(head, SimplexHead) and len(head.prepare):
        features = nn.functional.normalize(features, dim=1)
        centre = torch.zeros(features.shape[1], dtype=torch.float64)
    else:
        centre = _means(features, data).mean(0)
    return _means(features, data) - centre


def _means(features: Tensor, data: Dataset) -> Tensor:
    return torch.stack([features[data.train_y == k].mean(0) for k in range(CLASSES)])


def draw(units: Units) -> dict[str, Any]:
    """Recall by class and arm; predicted against measured cosines of the rare classes."""
    from ncollapse.lab.figures import axes, finish

    made: dict[str, Any] = {}
    found = units["tail"]
    if not found:
        return made
    figure, area, ink = axes("training samples of the class", "recall on the test split", "x")
    for (arm, name), colour in zip(NAMES.items(), ink.all, strict=True):
        recall = [sum(u["rows"][arm]["recall"][k] for u in found) / len(found)
                  for k in range(CLASSES)]  # fmt: skip
        area.plot(found[0]["counts"], recall, "o-", color=colour, label=name)
    made["recall"] = ("Recall by class size for learned and fixed heads", finish(figure, area))
    figure, area, ink = axes("cosine predicted for the learned head", "measured cosine")
    spread = [value for unit in found for value in unit["predicted"] + unit["measured"]]
    ends = [min(spread) - 0.02, max(spread) + 0.02]
    area.plot(ends, ends, color=ink.line)
    area.axhline(-1 / (CLASSES - 1), color=ink.faint, linestyle="--", label="simplex")
    for unit in found:
        first = unit is found[0]
        area.plot(unit["predicted"], unit["measured"], ".", color=ink.first,
                  label="learned classifiers" if first else None)  # fmt: skip
        area.plot(unit["predicted"], unit["rows"]["fixed"]["mean_cosines"], ".", color=ink.second,
                  label="means at the fixed frame" if first else None)  # fmt: skip
    made["cosines"] = (
        "Cosines among the five rarest classes: learned classifiers follow the prediction, means "
        "at a fixed frame stay at the simplex",
        finish(figure, area),
    )
    return made
