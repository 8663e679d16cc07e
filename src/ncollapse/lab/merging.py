"""Minority classifiers that merge: how far apart they are, where they should, what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ncollapse.lab.compared import HALF
from ncollapse.lab.free import arrays, trained
from ncollapse.lab.models import penultimate
from ncollapse.lab.networks import Network
from ncollapse.losses import CrossEntropy
from ncollapse.theory.problems import UFM
from ncollapse.theory.problems.groups import groups_of
from ncollapse.theory.solvers.lpm import collapse_ratio, train_two_groups
from ncollapse.theory.subjects.imbalance import merge_value

# Rows closer than this share of the longest one count as merged. Past the threshold the spread is
# 0; before it, it grows with the square root of the distance.
MERGED = 1e-3
# Rows shorter than this are zero.
VANISHED = 1e-6


def spread(weight: Tensor, first: int) -> float:
    """Largest distance between two rows from `first` on, over the longest row of all.

    Where all rows vanish, as they do when decay outweighs every class, the distance itself.
    """
    rows = weight[first:]
    longest = float(weight.norm(dim=1).max())
    return float(torch.cdist(rows, rows).max()) / (longest if longest > VANISHED else 1.0)


def merged_at(problem: UFM, level: float) -> UFM:
    """The problem with λ_W = λ_H such that N² λ_W λ_H = level × the predicted threshold."""
    value = merge_value(problem, min(groups_of(problem), key=lambda group: group.count))
    assert value is not None
    decay = math.sqrt(level * value) / problem.num_samples
    return replace(problem, weight_decay=decay, feature_decay=decay)


def spreads(counts: Sequence[int], levels: Sequence[float], seed: int) -> list[float]:
    """Spread of the classes with the fewest samples, which stand last, after descent of
    cross-entropy without a bias at each level of the predicted threshold."""
    size, few = len(counts), list(counts).count(min(counts))
    problem = UFM(tuple(counts), loss=CrossEntropy(), bias="none", num_features=size + 1)
    trained_at = (trained(merged_at(problem, level), seed)[0] for level in levels)
    return [spread(weight, size - few) for weight in trained_at]


def merges(value: float) -> bool:
    """Whether a spread counts as merged."""
    return value <= MERGED


def begin(row: Sequence[float]) -> int:
    """First place from which on all are merged; scattered ones count as far as they lie."""
    return next(i for i in range(len(row) + 1) if all(map(merges, row[i:])))


def around(
    large: int, small: int, energies: Sequence[float], factors: Sequence[float], seed: int
) -> list[dict[str, Any]]:
    """Constrained norms, energies E_W and E_H: spread of `small` minority classes beside `large`
    majority ones at these factors of the computed imbalance R*, by brute force, the better of two
    starts, and whether it agrees with R*."""
    norms: dict[str, Any] = dict(zip(("weight_energy", "feature_energy"), energies, strict=True))
    ratio = collapse_ratio(large, small, **norms)
    rows = []
    for factor in factors:
        starts = (2 * seed, 2 * seed + 1)
        runs = [train_two_groups(large, small, ratio * factor, seed=s, **norms) for s in starts]
        lowest = min((run for run, _ in runs), key=lambda run: run.objective)
        apart = spread(arrays(lowest.geometry)[0], large)
        agrees = merges(apart) == (factor > 1)
        rows.append({"ratio": ratio, "factor": factor, "spread": apart, "agrees": agrees})
    return rows


def accuracies(network: Network) -> dict[str, float]:
    """Of samples of minority classes: head and nearest centre, among all classes and among the
    minority classes alone (`_among`; chance is 1 over their number). Of the test split, and of the
    training split (`_train`), whose own means the centres are."""
    data = network.data
    weight, means = arrays(network.geometry)
    found = {}
    for suffix, split in (("", "test"), ("_train", "train")):
        inputs, classes = data.loader(split)
        kept = classes >= HALF
        labels = classes[kept]
        features = penultimate(network.model, inputs[kept]).double()
        scores = {"head": features @ weight.T, "centres": -torch.cdist(features, means)}
        for name, score in scores.items():
            found[f"{name}{suffix}"] = float((score.argmax(1) == labels).double().mean())
            among = score[:, HALF:].argmax(1) + HALF
            found[f"{name}_among{suffix}"] = float((among == labels).double().mean())
    return found
