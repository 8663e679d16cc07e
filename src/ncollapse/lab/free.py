"""Free features in studies: problems made from settings, and where descent on them ends."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.lab.cosines import cosines, pairs
from ncollapse.lab.study import Plan
from ncollapse.losses import CrossEntropy, Focal, Loss, MeanSquaredError
from ncollapse.theory.problems import UFM, ULPM
from ncollapse.theory.solution import Solution
from ncollapse.theory.solvers.descent import descend

LOSSES: dict[str, Loss] = {
    "ce": CrossEntropy(),
    "ls": CrossEntropy(smoothing=0.1),
    "focal": Focal(2.0),
    "mse": MeanSquaredError(),
}
# A gap of 1e-8 is first order in what is left of the gradient, divided by √(λ_W λ_H).
SETTLED = 1e-11


def balanced(
    settings: Plan, loss: Loss, bias: str | float = "none", *, decay: float | None = None
) -> UFM:
    """The problem of `classes`, `count`, `features` (else as many as needed), `weight_decay` and
    `feature_decay`; decay: both instead."""
    return UFM(
        (settings["count"],) * settings["classes"],
        weight_decay=settings["weight_decay"] if decay is None else decay,
        feature_decay=settings["feature_decay"] if decay is None else decay,
        loss=loss,
        bias=bias,
        num_features=settings.get("features"),
    )


def unbiased(counts: Sequence[int], decay: float, loss: Loss, width: int | None = None) -> UFM:
    """The problem without a bias of these class counts, with λ_W = λ_H."""
    return UFM(
        tuple(counts),
        weight_decay=decay,
        feature_decay=decay,
        loss=loss,
        bias="none",
        num_features=width,
    )


def undecayed(settings: Plan) -> ULPM:
    """The problem without decay of `classes`, `count` and `features`."""
    return ULPM((settings["count"],) * settings["classes"], num_features=settings["features"])


def arrays(geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Classifiers and raw class means of a geometry that has both, (K, d) each."""
    assert geometry.weight is not None and geometry.means is not None
    return geometry.weight, geometry.means


def trained(problem: UFM, seed: int) -> tuple[Tensor, Tensor]:
    """Classifiers and raw class means where descent from a random start ends, (K, d) each."""
    return arrays(descend(problem, seed=seed).geometry)


def squared_error_lengths(problem: UFM) -> tuple[Tensor, Tensor, Tensor]:
    """‖w_k‖², ‖h_k‖² and the own logits of bias-free mean squared error with λ_W = λ_H, by the
    closed form: WWᵀ = √N A, H̄ᵀH̄ = √N A/n, with A = diag((√π - τ)₊)."""
    count = torch.tensor(problem.counts, dtype=torch.float64)
    root = (count / count.sum()).sqrt()
    left = (root - problem.tau).clamp_min(0)
    weight = count.sum().sqrt() * left
    return weight, weight / count, left / root


def between_frames(settings: Plan, bias_decay: float, seed: int) -> list[float]:
    """Mean squared error with a decayed bias, whose means lie between the two frames: λ_b, the
    cosine (g - a)/(g + a(K-1)), that of raw means after descent, largest error of a pair."""
    size = settings["classes"]
    c = math.sqrt(settings["count"] * settings["weight_decay"] * settings["feature_decay"])
    apart = max(1 - c * size, 0.0)
    shared = max(1 - c * size * (1 + 1 / bias_decay), 0.0)
    wanted = (shared - apart) / (shared + apart * (size - 1))
    _, means = trained(balanced(settings, MeanSquaredError(), bias_decay), seed)
    found = pairs(cosines(means))
    return [bias_decay, wanted, float(found.mean()), float((found - wanted).abs().max())]


def from_starts(problem: UFM, seeds: range, *, max_iterations: int) -> dict[str, list[float]]:
    """Plain gradient descent from random starts: where it ends, as `gaps` to the lower bound, and
    the `iterations` that it takes."""
    runs = [
        descend(
            problem, seed=seed, method="gradient", tolerance=SETTLED, max_iterations=max_iterations
        )
        for seed in seeds
    ]
    return {"gaps": [gap_of(run) for run in runs], "iterations": [run.iterations for run in runs]}


def gap_of(found: Solution) -> float:
    """The relative gap to the lower bound, infinite without one."""
    return math.inf if found.relative_gap is None else found.relative_gap


def descent_with_decay(
    problem: UFM, steps: int, *, learning_rate: float, looks: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Plain gradient descent on cross-entropy without a bias, balanced, written out for speed.

    Returns the steps that were looked at, `looks` + 1 of them, and tr Σ_W / tr Σ_B there.
    """
    rng = np.random.default_rng(seed)
    size, count = problem.num_classes, problem.counts[0]
    total = problem.num_samples
    width = problem.num_features or size
    weight = 0.3 * rng.standard_normal((size, width))
    features = 0.3 * rng.standard_normal((total, width))
    target = np.repeat(np.eye(size), count, axis=0)
    places = set(np.linspace(0, steps, looks + 1).astype(int).tolist())
    seen, found = [], []
    for step in range(steps + 1):
        if step in places:
            blocks = features.reshape(size, count, width)
            means = blocks.mean(1, keepdims=True)
            between = ((means - features.mean(0)) ** 2).sum() / size
            seen.append(step)
            found.append(float(((blocks - means) ** 2).sum() / total / between))
        logits = features @ weight.T
        chance = np.exp(logits - logits.max(1, keepdims=True))
        pull = (chance / chance.sum(1, keepdims=True) - target) / total
        towards = pull.T @ features + problem.weight_decay * weight
        features = features - learning_rate * (pull @ weight + problem.feature_decay * features)
        weight = weight - learning_rate * towards
    return np.array(seen, dtype=np.float64), np.array(found)
