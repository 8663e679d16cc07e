"""Runs of the imbalance study: free features by descent, networks on digits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncollapse.lab.data import geometric_counts
from ncollapse.lab.networks import (
    block_means,
    closeness,
    cosines,
    pairs,
    predicted,
    train_network,
)
from ncollapse.lab.study import Units
from ncollapse.losses import CrossEntropy, MeanSquaredError
from ncollapse.theory.problems import UFM
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.descent import descend

CLASSES = 10


def lengths(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Bias-free mean squared error by descent against the closed form of lengths and logits."""
    counts, decay = settings["counts"], settings["decay"]
    problem = UFM(
        tuple(counts),
        weight_decay=decay,
        feature_decay=decay,
        loss=MeanSquaredError(),
        bias="none",
        num_features=len(counts) + 1,
    )
    geometry = descend(problem, seed=seed).geometry
    assert geometry.weight is not None and geometry.means is not None
    count = torch.tensor(counts, dtype=torch.float64)
    root = (count / count.sum()).sqrt()
    left = (root - problem.tau).clamp_min(0)
    alive = left > 0
    # λ_W = λ_H: WWᵀ = √N A, H̄ᵀH̄ = √N A/n, with A = diag(√π - τ).
    wanted = {
        "weight": count.sum().sqrt() * left,
        "means": count.sum().sqrt() * left / count,
        "logits": left / root,
    }
    found = {
        "weight": geometry.weight.square().sum(1),
        "means": geometry.means.square().sum(1),
        "logits": (geometry.weight @ geometry.means.T).diagonal(),
    }
    errors = [float((found[k] - wanted[k]).abs().max() / wanted[k].max()) for k in wanted]
    angles = [
        float(pairs(cosines(rows[alive])).abs().max()) for rows in (geometry.weight, geometry.means)
    ]
    squares, sizes = found["weight"][alive], count[alive]
    factor = (squares * sizes).sum() / sizes.square().sum()
    misfit = float((factor * sizes / squares - 1).abs().max())
    return {
        "values": {
            "imbalance-orthogonal": max(angles),
            "imbalance-lengths": max(errors),
            "imbalance-not-frequency": misfit,
        },
        "data": {
            "counts": counts,
            "tau": problem.tau,
            "dead": int((~alive).sum()),
            "found": found["weight"],
            "wanted": wanted["weight"],
            "proportional": factor * count,
        },
    }


def blocks(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Cross-entropy with two groups of counts by descent: blocks, and the solver's blocks."""
    groups = settings["blocks"]
    counts = tuple(count for size, count in groups for _ in range(size))
    problem = UFM(counts, weight_decay=5e-3, feature_decay=5e-3, loss=CrossEntropy(), bias="none")
    trained = descend(problem, seed=seed).geometry.weight
    certified = solve(problem).geometry.weight
    assert trained is not None and certified is not None
    majority = groups[0][0]
    worst = 0.0
    for square in (cosines(trained), cosines(certified)):
        aim = _filled(block_means(cosines(certified), majority), majority, len(counts))
        worst = max(worst, float(pairs(square - aim).abs().max()))
    norms = trained.norm(dim=1)
    aims = certified.norm(dim=1)
    for part in (slice(0, majority), slice(majority, None)):
        worst = max(worst, float((norms[part] / norms[part].mean() - 1).abs().max()))
        worst = max(worst, float((norms[part] / aims[part].mean() - 1).abs().max()))
    return {
        "values": {"imbalance-blocks": worst},
        "data": {
            "counts": counts,
            "cosines": block_means(cosines(trained), majority),
            "certified": block_means(cosines(certified), majority),
        },
    }


def _filled(means: tuple[float, float, float], majority: int, size: int) -> Tensor:
    """The square matrix of a block of means."""
    first = torch.arange(size) < majority
    same, across = first[:, None] & first[None, :], first[:, None] != first[None, :]
    found = torch.full((size, size), means[2], dtype=torch.float64)
    found[same], found[across] = means[0], means[1]
    return found


def network(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Step-imbalanced digits: the prediction with one fitted scalar, and NC1 beside balance."""
    wanted = settings["network"]
    half = CLASSES // 2
    counts = (wanted["majority"],) * half + (wanted["minority"],) * half
    level = sum(counts) // CLASSES
    decays = wanted["decays"]
    balanced = train_network((level,) * CLASSES, decays[0], epochs=settings["epochs"], seed=seed)
    rows, gaps, ratios = [], [], []
    for decay in decays:
        trained = train_network(counts, decay, epochs=settings["epochs"], seed=seed)
        fit = predicted(trained)
        measured, aim = trained.geometry.weight, fit.prediction.geometry.weight
        assert measured is not None and aim is not None
        found = block_means(cosines(measured), half)
        theory = block_means(cosines(aim), half)
        gaps.append(max(abs(a - b) for a, b in zip(found, theory, strict=True)))
        ratios.append(closeness(measured, aim)[1])
        rows.append(
            {
                "decay": decay,
                "measured": found,
                "predicted": theory,
                "norm_ratio": _norm_ratio(measured, half),
                "norm_ratio_predicted": _norm_ratio(aim, half),
                "tau": fit.tau,
                "logit_error": fit.logit_error,
                "nc1": trained.nc1,
                "train_error": trained.train_error,
                "test_error": trained.test_error,
                "distance": trained.geometry.distance(fit.prediction.geometry).blocks,
            }
        )
    return {
        "values": {
            "imbalance-nc1": rows[0]["nc1"] / balanced.nc1,
            "imbalance-network-blocks": max(gaps),
            "imbalance-network-closer": min(ratios),
        },
        "data": {"rows": rows, "balanced_nc1": balanced.nc1, "counts": counts},
    }


def _norm_ratio(weight: Tensor, half: int) -> float:
    norms = weight.norm(dim=1)
    return float(norms[:half].mean() / norms[half:].mean())


def longtail(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Long-tailed digits against the prediction with one fitted scalar."""
    wanted = settings["network"]
    counts = geometric_counts(wanted["majority"], wanted["minority"], CLASSES)
    trained = train_network(counts, wanted["decays"][0], epochs=settings["epochs"], seed=seed)
    fit = predicted(trained)
    measured, aim = trained.geometry.weight, fit.prediction.geometry.weight
    assert measured is not None and aim is not None
    gap, ratio = closeness(measured, aim)
    return {
        "values": {"imbalance-longtail": gap, "imbalance-longtail-closer": ratio},
        "data": {
            "counts": counts,
            "measured": pairs(cosines(measured)),
            "predicted": pairs(cosines(aim)),
            "tau": fit.tau,
            "logit_error": fit.logit_error,
            "nc1": trained.nc1,
            "test_error": trained.test_error,
        },
    }


def draw(units: Units) -> dict[str, Any]:
    """Squared lengths by class; predicted against measured cosines of networks."""
    from ncollapse.lab.figures import axes, finish

    made: dict[str, Any] = {}
    if units["lengths"]:
        data = units["lengths"][0]
        figure, area, ink = axes("class count n", "squared length of the classifier")
        area.plot(data["counts"], data["wanted"], color=ink.faint, label="closed form")
        area.plot(data["counts"], data["found"], "o", color=ink.first, label="descent")
        area.plot(data["counts"], data["proportional"], "--", color=ink.second, label="∝ frequency")
        made["lengths"] = (
            "Squared classifier lengths follow (√π - τ)₊, not class frequency",
            finish(figure, area),
        )
    if units["longtail"]:
        figure, area, ink = axes("predicted cosine", "measured cosine")
        ends = [-0.35, 0.25]
        area.plot(ends, ends, color=ink.line)
        for unit in units["longtail"]:
            label = "pairs of classes" if unit is units["longtail"][0] else None
            area.plot(unit["predicted"], unit["measured"], ".", color=ink.first, label=label)
        area.plot([-1 / 9], [-1 / 9], "s", color=ink.second, label="simplex")
        spread = np.array([u["measured"] + u["predicted"] for u in units["longtail"]])
        low, high = float(spread.min()) - 0.02, float(spread.max()) + 0.02
        area.set_xlim(low, high)
        area.set_ylim(low, high)
        made["cosines"] = (
            "Classifier cosines of networks on long-tailed digits against the prediction",
            finish(figure, area),
        )
    return made
