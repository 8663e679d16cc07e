"""Digits that come in sessions of classes: the data, and later sessions tuned on validation."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ncollapse.downstream.incremental_heads import CosineHead
from ncollapse.downstream.learner import Features, IncrementalLearner
from ncollapse.lab.data import Dataset, digits

# Of the first classes' training samples one in so many is for validation.
HELD = 5
Pair = tuple[Tensor, Tensor]


def shuffled_classes(seed: int) -> Dataset:
    """Digits split by `seed`, with classes numbered in an order that it draws."""
    data = digits(seed=seed)
    order = torch.randperm(data.num_classes, generator=torch.Generator().manual_seed(seed))
    return replace(data, train_y=order[data.train_y], test_y=order[data.test_y])


def only(data: Dataset, classes: Iterable[int]) -> Dataset:
    """The samples of some classes."""
    kept = torch.tensor(list(classes))
    train, test = torch.isin(data.train_y, kept), torch.isin(data.test_y, kept)
    parts = data.train_x[train], data.train_y[train], data.test_x[test], data.test_y[test]
    return Dataset(*parts, data.class_names)


def first_of(labels: Tensor, classes: Iterable[int], count: int) -> tuple[Tensor, Tensor]:
    """Places of the first samples of each class, and of all others of these classes."""
    there = [(labels == k).nonzero().flatten() for k in classes]
    return torch.cat([t[:count] for t in there]), torch.cat([t[count:] for t in there])


@dataclass(frozen=True, eq=False)
class Sessions:
    """data: of each session, inputs and labels; validation: training samples of all classes that
    no session has."""

    data: tuple[Pair, ...]
    validation: Pair

    @classmethod
    def of(cls, whole: Dataset, base: int, later: Sequence[Sequence[int]], shots: int) -> Sessions:
        """Four fifths of the samples of classes below `base`, then `shots` of each later class."""
        x, y = whole.train_x, whole.train_y
        first = (y < base).nonzero().flatten()
        held = torch.arange(len(first)) % HELD == 0
        drawn = [first_of(y, classes, shots) for classes in later]
        places = [first[~held], *(few for few, _ in drawn)]
        rest = torch.cat([first[held], *(others for _, others in drawn)])
        return cls(tuple((x[place], y[place]) for place in places), (x[rest], y[rest]))


def tuned(
    learner: IncrementalLearner, sessions: Sessions, test: Pair, grid: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Later sessions under every [rate, scale], from the same first one: what validates best, with
    mean accuracies over classes on validation, on test at the end, and on test before. A frame's
    scale only multiplies its loss."""
    validation, seen = learner.features(sessions.validation), learner.features(test)
    before = accuracy(learner, seen)
    tried = []
    for rate, scale in grid:
        mine = copy.deepcopy(learner)
        mine.recipe = replace(learner.recipe, session_rate=rate, scale=scale)
        head = None if mine.model is None else mine.model[2]
        if isinstance(head, CosineHead):
            head.linear.scale = scale
        for data in sessions.data[1:]:
            mine.learn(data)
        found = {"validation": accuracy(mine, validation), "final": accuracy(mine, seen)}
        tried.append({"rate": rate, "scale": scale, "base": before, **found})
    best = max(range(len(tried)), key=lambda i: tried[i]["validation"])
    return {**tried[best], "tried": tried}


def accuracy(learner: IncrementalLearner, features: Features) -> float:
    """Mean over the classes met so far."""
    found = learner.accuracies(*features)
    return sum(found.values()) / len(found)
