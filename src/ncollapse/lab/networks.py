"""The real network of the studies: trained on digits of given class counts, read as a geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.control.heads import SimplexHead
from ncollapse.geometry import Geometry
from ncollapse.lab.curve import Curve
from ncollapse.lab.data import Data, Dataset, digits, long_tailed
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.train import Loss, Settings, train
from ncollapse.metrics.catalog import METRICS

WIDTHS = (256, 256, 256)
# Leaves 150 training samples of every class.
TEST_SHARE = 1 / 8
# Batches of 128 end before collapse on so few samples (NC1 still falls when the rate has vanished);
# 64 and 32 end at the same cosines.
BATCH = 64


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network: raw class means and classifier on the training split, nc1_ratio there,
    errors of both splits."""

    model: nn.Sequential
    data: Dataset
    counts: tuple[int, ...]
    geometry: Geometry
    nc1: float
    train_error: float
    test_error: float


def train_network(
    counts: Sequence[int],
    weight_decay: float,
    *,
    epochs: int = 300,
    seed: int = 0,
    loss: str | Loss = "ce",
    widths: Sequence[int] = WIDTHS,
    bias: bool = False,
    learning_rate: float = 0.05,
) -> Network:
    """MLP with BatchNorm, no ReLU after the last one, decay on everything, SGD with momentum 0.9,
    batches of 64 and a cosine schedule, on counts[k] digits of class k. bias: in the head."""
    data = long_tailed(digits(TEST_SHARE, seed), counts, seed)
    model = bare(data, seed, widths, bias)
    settings = Settings(
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        loss=loss,
        seed=seed,
    )
    last = train(model, data, settings).history[-1]
    geometry, nc1 = read(model, data)
    return Network(model, data, tuple(counts), geometry, nc1, last.train_error, last.test_error)


def bare(
    data: Dataset, seed: int, widths: Sequence[int] = WIDTHS, bias: bool = False
) -> nn.Sequential:
    """An MLP as theory has it: features of either sign, and no bias in the head unless asked."""
    return mlp(data.num_features, widths, data.num_classes, bias=bias, last_relu=False, seed=seed)


def read(model: nn.Sequential, data: Dataset) -> tuple[Geometry, float]:
    """Geometry (raw means, weight, counts) and nc1_ratio of a model on its training split."""
    moments = ClassMoments(data.num_classes, head(model).in_features)
    moments.update(penultimate(model, data.train_x), data.train_y)
    bias = head(model).bias
    geometry = Geometry(
        means=moments.geometry().means,
        weight=head(model).weight.detach().double(),
        bias=None if bias is None else bias.detach().double(),
        counts=torch.bincount(data.train_y, minlength=data.num_classes),
    )
    nc1 = METRICS["nc1_ratio"].evaluate(statistics=moments.statistics(), geometry=geometry)
    return geometry, float(nc1)


def directions(model: nn.Sequential, data: Dataset) -> Float[Tensor, "classes dim"]:
    """Class means on the training split of what the head multiplies: normalised features, where a
    fixed head normalises them, else centred ones."""
    features = penultimate(model, data.train_x).double()
    last = model.get_submodule("head")
    normalised = isinstance(last, SimplexHead) and len(last.prepare) > 0
    if normalised:
        features = nn.functional.normalize(features, dim=1)
    classes = range(data.num_classes)
    means = torch.stack([features[data.train_y == k].mean(0) for k in classes])
    return means if normalised else means - means.mean(0)


def nc1_curve(data: Data, settings: Settings) -> Curve:
    """nc1_ratio on the training split of such a network as it trains, sixty looks or more."""
    assert isinstance(data, Dataset)
    model = bare(data, settings.seed)
    curve = Curve(lambda _: read(model, data)[1], max(1, settings.epochs // 60))
    train(model, data, settings, [curve])
    return curve


def head(model: nn.Sequential) -> nn.Linear:
    """The last layer of a model of `models`."""
    found = model.get_submodule("head")
    assert isinstance(found, nn.Linear)
    return found
