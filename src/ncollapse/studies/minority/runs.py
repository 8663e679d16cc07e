"""Runs of the minority study: a grid of free features by descent, networks past the threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ncollapse.lab.models import penultimate
from ncollapse.lab.networks import (
    Network,
    block_means,
    cosines,
    predicted,
    train_network,
)
from ncollapse.lab.study import Units
from ncollapse.losses import CrossEntropy
from ncollapse.theory.problems import UFM
from ncollapse.theory.solvers.descent import descend
from ncollapse.theory.subjects.imbalance import groups_of, merge_value

CLASSES = 10
# Minority rows closer than this share of the largest row count as merged. Past the threshold the
# spread is 0; before it, it grows with the square root of the distance.
MERGED = 1e-3
VANISHED = 1e-6


def merged_at(problem: UFM, level: float) -> UFM:
    """The problem with λ_W = λ_H such that N² λ_W λ_H = level × the predicted threshold."""
    smallest = min(groups_of(problem), key=lambda group: group.count)
    value = merge_value(problem, smallest)
    assert value is not None
    decay = math.sqrt(level * value) / problem.num_samples
    return UFM(
        problem.counts,
        weight_decay=decay,
        feature_decay=decay,
        loss=problem.loss,
        bias=problem.bias,
        num_features=problem.num_features,
    )


def spread(weight: Tensor, first: int) -> float:
    """Largest distance between two rows from `first` on, over the longest row of all.

    Where all rows vanish, as they do when decay outweighs every class, the distance itself.
    """
    rows = weight[first:]
    longest = float(weight.norm(dim=1).max())
    return float(torch.cdist(rows, rows).max()) / (longest if longest > VANISHED else 1.0)


def grid(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Ratios × decays: does descent merge the minority where the threshold says so?

    The levels are multiples of the predicted threshold, none at 1: between two of them lies the
    predicted boundary, and the trained one lies where merging begins.
    """
    large, small = settings["classes"]
    levels = settings["levels"]
    border = sum(level < 1 for level in levels)
    table, distances, both, past = [], [], [], []
    for ratio in settings["ratios"]:
        counts = (settings["minority"] * ratio,) * large + (settings["minority"],) * small
        problem = UFM(counts, loss=CrossEntropy(), bias="none", num_features=large + small + 1)
        row = []
        for level in levels:
            weight = descend(merged_at(problem, level), seed=seed).geometry.weight
            assert weight is not None
            row.append(spread(weight, large))
        merged = [value <= MERGED for value in row]
        # First level from which on all are merged; scattered cells count as far as they lie.
        begin = next(i for i in range(len(row) + 1) if all(merged[i:]))
        distances.append(abs(begin - border))
        both.append(any(merged) and not all(merged))
        double = descend(merged_at(problem, 2.0), seed=seed).geometry.weight
        assert double is not None
        past.append(spread(double, large))
        table.append(row)
    return {
        "values": {
            "minority-grid": max(distances),
            "minority-ratio": sum(both) / len(both),
            "minority-free-merge": max(past),
        },
        "data": {"ratios": settings["ratios"], "levels": levels, "spread": table},
    }


def network(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Digits before and past the transition."""
    epochs = settings["epochs"]
    before = _row(settings["before"], epochs, seed)
    past = [_row(setting, epochs, seed) for setting in settings["past"]]
    outside = [
        max(abs(a - b) for a, b in zip(row["measured"][:2], row["predicted"][:2], strict=True))
        for row in past
    ]
    inside = [abs(row["measured"][2] - row["predicted"][2]) for row in past]
    return {
        "values": {
            "minority-network-before": before["measured"][2],
            "minority-network-merge": min(row["measured"][2] for row in past),
            "minority-network-blocks": max(outside),
            "minority-network-inside": max(inside),
            "minority-head": max(row["head_among"] for row in past),
            "minority-centres": min(row["centres_among"] - row["head_among"] for row in past),
        },
        "data": {"before": before, "past": past},
    }


def _row(setting: Sequence[Any], epochs: int, seed: int) -> dict[str, Any]:
    """A network of [majority count, minority count, decay], read and predicted."""
    majority, minority, decay = setting
    half = CLASSES // 2
    counts = (majority,) * half + (minority,) * half
    trained = train_network(counts, decay, epochs=epochs, seed=seed)
    fit = predicted(trained)
    measured, aim = trained.geometry.weight, fit.prediction.geometry.weight
    means = trained.geometry.centred_means
    assert measured is not None and aim is not None
    return {
        "counts": counts,
        "decay": decay,
        "measured": block_means(cosines(measured), half),
        "predicted": block_means(cosines(aim), half),
        "means": block_means(cosines(means), half),
        "means_predicted": block_means(cosines(fit.prediction.geometry.centred_means), half),
        "tau": fit.tau,
        "logit_error": fit.logit_error,
        "collapsed": list(fit.prediction.collapsed_classes),
        **accuracies(trained, half),
    }


def accuracies(network: Network, half: int) -> dict[str, float]:
    """Of samples of minority classes: head and nearest centre, among all classes and among the
    minority classes alone (`_among`; chance is 1 over their number). Of the test split, and of the
    training split (`_train`), whose own means the centres are."""
    data, means, weight = network.data, network.geometry.means, network.geometry.weight
    assert means is not None and weight is not None
    found = {}
    splits = (("", data.test_x, data.test_y), ("_train", data.train_x, data.train_y))
    for suffix, inputs, classes in splits:
        kept = classes >= half
        labels = classes[kept]
        features = penultimate(network.model, inputs[kept]).double()
        scores = {"head": features @ weight.T, "centres": -torch.cdist(features, means)}
        for name, score in scores.items():
            found[f"{name}{suffix}"] = float((score.argmax(1) == labels).double().mean())
            among = score[:, half:].argmax(1) + half
            found[f"{name}_among{suffix}"] = float((among == labels).double().mean())
    return found


def draw(units: Units) -> dict[str, Any]:
    """Spread of minority classifiers across the threshold; predicted and measured cosines."""
    from ncollapse.lab.figures import axes, finish

    made: dict[str, Any] = {}
    if units["grid"]:
        data = units["grid"][0]
        figure, area, ink = axes(
            "N² λ_W λ_H over n of the minority", "spread of minority classifiers", "x"
        )
        for ratio, row, colour in zip(data["ratios"], data["spread"], ink.all, strict=False):
            area.plot(data["levels"], row, "o-", color=colour, label=f"ratio {ratio}", markersize=4)
        area.axvline(1, color=ink.mark, label="predicted threshold")
        made["transition"] = (
            "Minority classifiers merge where N² λ_W λ_H reaches their count, at every ratio",
            finish(figure, area),
        )
    if units["network"]:
        figure, area, ink = axes("classifiers within the minority: predicted", "measured cosine")
        for unit in units["network"]:
            first = unit is units["network"][0]
            for row in [unit["before"], *unit["past"]]:
                area.plot(
                    row["predicted"][:2], row["measured"][:2], ".", color=ink.second,
                    label="within the majority, across" if first else None,
                )  # fmt: skip
                area.plot(
                    row["predicted"][2], row["measured"][2], "o", color=ink.first,
                    label="within the minority" if first else None,
                )  # fmt: skip
                first = False
        area.plot([-0.3, 1], [-0.3, 1], color=ink.line)
        area.set_xlabel("predicted cosine of classifiers")
        made["network"] = (
            "Classifier cosines of digits networks before and past the transition",
            finish(figure, area),
        )
    return made
