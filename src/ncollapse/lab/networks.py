"""The real network of the studies: trained on digits of given class counts, read as a geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.geometry import Geometry
from ncollapse.lab.data import Dataset, digits, long_tailed
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.train import Loss, Settings, train
from ncollapse.metrics.catalog import METRICS
from ncollapse.theory.subjects.fit import Fit, fit_tau

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
) -> Network:
    """MLP with BatchNorm, no ReLU after the last one, no bias in the head, decay on everything,
    SGD 0.05 with momentum 0.9, batches of 64 and a cosine schedule, on counts[k] digits of class
    k."""
    data = long_tailed(digits(TEST_SHARE, seed), counts, seed)
    model = mlp(data.num_features, widths, data.num_classes, bias=False, last_relu=False, seed=seed)
    settings = Settings(
        epochs=epochs, batch_size=BATCH, weight_decay=weight_decay, loss=loss, seed=seed
    )
    last = train(model, data, settings).history[-1]
    geometry, nc1 = read(model, data)
    return Network(model, data, tuple(counts), geometry, nc1, last.train_error, last.test_error)


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


def head(model: nn.Sequential) -> nn.Linear:
    """The last layer of a model of `models`."""
    found = model.get_submodule("head")
    assert isinstance(found, nn.Linear)
    return found


def predicted(network: Network) -> Fit:
    """One scalar τ fitted to the network's class-mean logits, with the certified optimum there."""
    return fit_tau(network.geometry, network.counts, loss="ce", bias="none")


# ---- cosines ----------------------------------------------------------------------------------
def cosines(rows: Tensor) -> Tensor:
    """Pairwise cosines (K, K) of rows (K, d); rows of length zero have cosine 0."""
    unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30)
    return unit @ unit.T


def pairs(square: Tensor) -> Tensor:
    """The entries above the diagonal, as one vector."""
    upper = torch.triu_indices(square.shape[0], square.shape[1], offset=1)
    return square[upper[0], upper[1]]


def block_means(square: Tensor, majority: int) -> tuple[float, float, float]:
    """Mean off-diagonal entries within the first `majority` classes, across, within the rest."""
    return (
        float(pairs(square[:majority, :majority]).mean()),
        float(square[:majority, majority:].mean()),
        float(pairs(square[majority:, majority:]).mean()),
    )


def closeness(measured: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Of the cosines of two weights: the mean |difference| over pairs, and the root mean square
    distance of the measured ones to the simplex over that to the wanted ones."""
    found, aim = pairs(cosines(measured)), pairs(cosines(wanted))
    simplex = torch.full_like(found, -1 / (measured.shape[0] - 1))
    ratio = (found - simplex).norm() / (found - aim).norm().clamp_min(1e-30)
    return float((found - aim).abs().mean()), float(ratio)
