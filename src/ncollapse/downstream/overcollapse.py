"""Over-collapse: a class and what lies around it, told apart in input space and mixed in features.

NC1 does not say it: a push against crowding lifts few-shot accuracy on new classes by a quarter and
hardly moves NC1. Two readings that do: how much worse a linear probe separates a class from its
adjacent region in features than in inputs, and how crowded the directions are in which samples lie
off their class means. The regions are those that training against over-collapse uses
(`control.AdjacentRegions`), with directions drawn at random in place of learned ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.control.overcollapse import AdjacentRegions
from ncollapse.control.regularizers import koleo
from ncollapse.downstream.probes import auc, fitted, interval
from ncollapse.linalg import unit_rows

Features = Float[Tensor, "samples dim"]
Labels = Int[Tensor, " samples"]
# Directions off the means of so many samples at most; every pair is looked at.
DIRECTIONS = 2000
REGIONS, RADIUS, FOLDS, LEAST = 4, 0.3, 2, 8


def moved(
    inputs: Float[Tensor, "samples ..."],
    *,
    regions: int = REGIONS,
    radius: float = RADIUS,
    seed: int = 0,
) -> Float[Tensor, "samples ..."]:
    """Every sample in a region adjacent to its class: farther by `radius` of its own length, along
    one of `regions` random directions (see `control.AdjacentRegions`). Raises ValueError for inputs
    that are no real numbers."""
    if not inputs.is_floating_point() or inputs.dim() < 2:
        raise ValueError(
            f"inputs have dtype {inputs.dtype} and shape {tuple(inputs.shape)}; samples of real "
            "numbers are needed: token numbers have no adjacent region"
        )
    maps = AdjacentRegions(inputs.shape[1:], regions, radius, seed).to(inputs.device)
    generator = torch.Generator().manual_seed(seed)
    region = torch.randint(regions, inputs.shape[:1], generator=generator).to(inputs.device)
    with torch.no_grad():
        return maps(inputs.float(), region).to(inputs.dtype)


def separability(
    still: Features, away: Features, labels: Labels, *, seed: int = 0
) -> dict[int, float]:
    """By class the AUC of a linear probe between samples and the same samples moved, on samples
    that it was not fitted on (two folds; a sample and its moved copy stay together).

    In [0, 1]: 1 told apart, .5 mixed. Classes of fewer than 8 samples are left out.
    """
    found: dict[int, float] = {}
    generator = torch.Generator().manual_seed(seed)
    for label in labels.unique().tolist():
        mine = (labels == label).nonzero().flatten()
        if mine.numel() < LEAST:
            continue
        mine = mine[torch.randperm(mine.numel(), generator=generator)]
        parts = mine.tensor_split(FOLDS)
        scores, truth = [], []
        for turn, test in enumerate(parts):
            fit = torch.cat([part for other, part in enumerate(parts) if other != turn])
            rows = torch.cat([still[fit], away[fit]]).double()
            place = torch.arange(2).repeat_interleave(fit.numel())
            asked = torch.cat([still[test], away[test]]).double()
            scores.append(fitted(rows, place, asked)[:, 1])
            truth.append(torch.arange(2).repeat_interleave(test.numel()) == 1)
        found[label] = auc(torch.cat(scores), torch.cat(truth))
    return found


def direction_entropy(features: Features, labels: Labels, *, seed: int = 0) -> float:
    """How crowded the directions h - μ_y of samples off their class means are: mean log distance of
    each unit vector to its nearest neighbour, minus the same of as many isotropic directions of
    the features' dimension. 0 for isotropic ones, below it where they crowd; in nats a dimension.

    Minus the KoLeo penalty of these directions, with its null. Samples on their mean have none and
    are left out; at most 2,000 are looked at, evenly spread. NaN for fewer than 3.
    """
    _, place = labels.unique(return_inverse=True)
    wide = features.detach().double()
    K, d = int(place.max()) + 1, wide.shape[1]
    counts = torch.bincount(place).double()
    means = torch.zeros(K, d, dtype=torch.float64).index_add(0, place, wide) / counts[:, None]
    rest = wide - means[place]
    length = torch.linalg.vector_norm(rest, dim=1)
    rest = rest[length > 1e-9 * torch.linalg.vector_norm(wide, dim=1)]
    if rest.shape[0] < 3:
        return float("nan")
    if rest.shape[0] > DIRECTIONS:
        rest = rest[torch.arange(DIRECTIONS) * rest.shape[0] // DIRECTIONS]
    generator = torch.Generator().manual_seed(seed)
    free = torch.randn(rest.shape, generator=generator, dtype=torch.float64)
    return float(koleo(free) - koleo(unit_rows(rest)))


@dataclass(frozen=True)
class OverCollapse:
    """Of one layer: mean AUC over classes in inputs and in features, the difference (`gap`,
    positive where features mix what inputs keep apart) with its 95 % interval over classes, and the
    entropy of directions off the class means. classes: how many could be read."""

    inputs: float
    features: float
    gap: float
    low: float
    high: float
    entropy: float
    classes: int

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def over_collapse(
    inputs: tuple[Tensor, Tensor],
    layers: Mapping[str, tuple[Tensor, Tensor]],
    labels: Labels,
    *,
    seed: int = 0,
) -> dict[str, OverCollapse]:
    """By layer, from (samples, the same samples moved) in inputs (samples, …) and in features
    (samples, dim).

    Labels are the classes that the model was trained on. Raises ValueError where fewer than two
    classes have 8 samples.
    """
    outside = separability(inputs[0].flatten(1), inputs[1].flatten(1), labels, seed=seed)
    if len(outside) < 2:
        raise ValueError(
            f"{len(outside)} classes have {LEAST} samples; at least two classes of {LEAST} are "
            "needed to tell classes from their surroundings"
        )
    found = {}
    for name, (still, away) in layers.items():
        inside = separability(still, away, labels, seed=seed)
        gaps = [outside[label] - inside[label] for label in outside]
        gap, low, high = interval(gaps)
        found[name] = OverCollapse(
            sum(outside.values()) / len(outside),
            sum(inside.values()) / len(inside),
            gap,
            low,
            high,
            direction_entropy(still, labels, seed=seed),
            len(outside),
        )
    return found
