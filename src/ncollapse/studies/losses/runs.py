"""Runs of the losses study on free features: frames, the path between them, and rates of NC1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.lab.networks import cosines, pairs
from ncollapse.losses import CrossEntropy, Focal, Loss, MeanSquaredError
from ncollapse.theory.problems import UFM, ULPM
from ncollapse.theory.solvers.descent import descend
from ncollapse.theory.solvers.flow import flow

LOSSES: dict[str, Loss] = {
    "ce": CrossEntropy(),
    "ls": CrossEntropy(smoothing=0.1),
    "focal": Focal(2.0),
    "mse": MeanSquaredError(),
}
LEARNING_RATE = 0.05
POINTS = 60


def make(settings: Mapping[str, Any], loss: Loss, bias: str | float) -> UFM:
    """The balanced problem of a study's settings."""
    return UFM(
        (settings["count"],) * settings["classes"],
        weight_decay=settings["weight_decay"],
        feature_decay=settings["feature_decay"],
        loss=loss,
        bias=bias,
        num_features=settings["features"],
    )


def frame_gap(geometry: Geometry, ideal: Tensor) -> float:
    """The larger of ‖G/‖G‖_F - ideal‖_F of raw means and of raw weights; ideal has norm 1."""
    assert geometry.weight is not None and geometry.means is not None
    grams = [rows @ rows.T for rows in (geometry.weight, geometry.means)]
    return max(float((gram / gram.norm() - ideal).norm()) for gram in grams)


def frames(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Four losses with a bias, mean squared error without one, and with decayed ones."""
    ufm = settings["ufm"]
    size = ufm["classes"]
    eye = torch.eye(size, dtype=torch.float64)
    simplex = (eye - 1 / size) / math.sqrt(size - 1)
    gaps = {
        name: frame_gap(descend(make(ufm, loss, "free"), seed=seed).geometry, simplex)
        for name, loss in LOSSES.items()
    }
    bare = descend(make(ufm, MeanSquaredError(), "none"), seed=seed).geometry
    orthogonal = frame_gap(bare, eye / math.sqrt(size))
    rows = []
    c = math.sqrt(ufm["count"] * ufm["weight_decay"] * ufm["feature_decay"])
    spread = max(1 - c * size, 0.0)
    for decay in settings["bias_decays"]:
        shared = max(1 - c * size * (1 + 1 / decay), 0.0)
        wanted = (shared - spread) / (shared + spread * (size - 1))
        means = descend(make(ufm, MeanSquaredError(), decay), seed=seed).geometry.means
        assert means is not None
        found = pairs(cosines(means))
        rows.append([decay, wanted, float(found.mean()), float((found - wanted).abs().max())])
    return {
        "values": {
            "losses-frame": max(gaps.values()),
            "losses-orthogonal": orthogonal,
            "losses-path": max(row[3] for row in rows),
        },
        "data": {"gaps": gaps, "orthogonal": orthogonal, "path": rows},
    }


def rates(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """NC1 of free features along gradient descent with decay, and along the flow without."""
    ufm = settings["ufm"]
    steps, nc1 = descent_with_decay(make(ufm, CrossEntropy(), "none"), settings["steps"], seed)
    late = steps >= settings["steps"] / 3
    slope = float(np.polyfit(steps[late], np.log(nc1[late]), 1)[0])
    predicted = -2 * LEARNING_RATE * ufm["feature_decay"]
    problem = ULPM((ufm["count"],) * ufm["classes"], num_features=ufm["features"])
    path = flow(problem, seed=seed, until=settings["until"])
    times, within = path.t, path.nc1
    kept = times >= 1e4
    power = float(np.polyfit(np.log(np.log(times[kept])), np.log(within[kept]), 1)[0])
    return {
        "values": {"losses-nc1-decay": slope / predicted, "losses-nc1-log": power},
        "data": {
            "steps": steps,
            "nc1": nc1,
            "slope": slope,
            "predicted": predicted,
            "times": times[kept],
            "nc1_flow": within[kept],
        },
    }


def descent_with_decay(
    problem: UFM, steps: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Plain gradient descent on cross-entropy without a bias, written out for speed.

    Returns the steps that were looked at and tr Σ_W / tr Σ_B there.
    """
    rng = np.random.default_rng(seed)
    size, count = problem.num_classes, problem.counts[0]
    total = problem.num_samples
    width = problem.num_features or size
    weight = 0.3 * rng.standard_normal((size, width))
    features = 0.3 * rng.standard_normal((total, width))
    target = np.repeat(np.eye(size), count, axis=0)
    looks = set(np.linspace(0, steps, POINTS + 1).astype(int).tolist())
    seen, found = [], []
    for step in range(steps + 1):
        if step in looks:
            blocks = features.reshape(size, count, width)
            means = blocks.mean(1, keepdims=True)
            between = ((means - features.mean(0)) ** 2).sum() / size
            seen.append(step)
            found.append(float(((blocks - means) ** 2).sum() / total / between))
        logits = features @ weight.T
        chance = np.exp(logits - logits.max(1, keepdims=True))
        pull = (chance / chance.sum(1, keepdims=True) - target) / total
        towards = pull.T @ features + problem.weight_decay * weight
        features = features - LEARNING_RATE * (pull @ weight + problem.feature_decay * features)
        weight = weight - LEARNING_RATE * towards
    return np.array(seen, dtype=np.float64), np.array(found)
