"""What studies read off features and decisions: NC1 as `measure` reads it, where it comes from,
few-shot accuracy, recall."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncollapse.downstream.probes import few_shot_accuracy
from ncollapse.measuring.measure import measure, measure_features
from ncollapse.measuring.measurement import Measurement

# What the claims read, and the ratio of traces beside it: nc1_fisher sees spread within classes
# only along the differences of class means, nc1_ratio sees all of it.
NC1, RATIO = "nc1_fisher", "nc1_ratio"


def reading(model: nn.Module, split: tuple[Tensor, Tensor], key: str = NC1) -> float:
    """`nc1_fisher`, or another metric, of a model on inputs and labels, in eval mode, by
    `nc.measure`; the mode is restored."""
    return _value(measure(model, train=split, null=False, intervals=False, keys=(key,)), key)


def reading_of(features: Tensor, labels: Tensor, key: str = NC1) -> float:
    """The same of features; labels need not count from 0."""
    _, place = labels.unique(return_inverse=True)
    return _value(measure_features(features, place, null=False, intervals=False, keys=(key,)), key)


def _value(found: Measurement, key: str) -> float:
    value = found.results["train"]["head"][key].value
    return math.nan if value is None else float(value)


def along_means(
    features: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"]
) -> tuple[list[float], float]:
    """Where nc1_fisher comes from: variance within classes over variance between them along each
    principal direction of the class means (their mean over classes is nc1_fisher), largest first,
    and the share of all variance within classes that lies along these directions. Classes weigh
    alike."""
    _, place = labels.unique(return_inverse=True)
    count = torch.bincount(place).double()
    K, wide = count.numel(), features.double()
    means = torch.zeros(K, wide.shape[1], dtype=torch.float64).index_add(0, place, wide)
    means = means / count[:, None]
    rest = (wide - means[place]) * (1 / (K * count[place])).sqrt()[:, None]
    between = (means - means.mean(0)) / K**0.5
    _, values, rows = torch.linalg.svd(between, full_matrices=False)
    within = (rest @ rows[: K - 1].T).square().sum(0)
    ratios = (within / values[: K - 1].square()).sort(descending=True).values
    return ratios.tolist(), float(within.sum() / rest.square().sum())


def few_shot(
    features: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    *,
    shots: int = 5,
    draws: int = 100,
    seed: int = 0,
) -> float:
    """Accuracy of nearest centroids of `shots` samples a class on all other samples, the mean over
    `draws` by an own generator. Raises ValueError where a class has no sample left to decide."""
    return few_shot_accuracy(features, labels, shots=shots, draws=draws, seed=seed).accuracy


def recalls(decided: Int[Tensor, " samples"], labels: Int[Tensor, " samples"]) -> list[float]:
    """Share of each class's samples that are decided for it."""
    return [float((decided[labels == k] == k).double().mean()) for k in labels.unique()]
