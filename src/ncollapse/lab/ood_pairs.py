"""Pairs of a trained network and foreign data: what the network reads, AUROC of every score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.downstream import ood
from ncollapse.lab.data import Dataset
from ncollapse.lab.held_out import transfer
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.networks import head
from ncollapse.lab.train import Settings, train
from ncollapse.measuring.measure import measure_features

DIGITS, MIXTURE, WINE, CANCER = "digits", "mixture", "wine", "cancer"
# Classes seen of those there are; the last set has no class to spare.
SEEN = {DIGITS: (6, 10), MIXTURE: (5, 8), WINE: (2, 3), CANCER: (2, 2)}


@dataclass(frozen=True, eq=False)
class Known:
    """Samples of the classes to train on, and foreign inputs by kind."""

    data: Dataset
    foreign: dict[str, Tensor]


def known(name: str, seed: int) -> Known:
    """Data by name with the class split, the training samples and the foreign inputs of a seed.

    Foreign: "unseen" classes; "shuffled", test inputs whose columns are shuffled apart; "noise",
    uniform over the range of each column. Raises ValueError for another name.
    """
    if name not in SEEN:
        raise ValueError(f"data {name!r} is unknown; one of {', '.join(SEEN)} is needed")
    generator = torch.Generator().manual_seed(seed)
    if name == DIGITS:
        split = transfer(SEEN[name][0], seed)
        return Known(split.seen, _foreign(split.seen, split.unseen_x, generator))
    inputs, labels = _mixture(generator) if name == MIXTURE else _table(name)
    count, total = SEEN[name]
    order = torch.randperm(total, generator=generator)[:count].sort().values
    place = torch.full((total,), -1).index_copy(0, order, torch.arange(count))
    own = place[labels]
    rows = (own >= 0).nonzero().flatten()
    rows = rows[torch.randperm(rows.numel(), generator=generator)]
    third = rows.numel() // 3
    test, training = rows[:third].sort().values, rows[third:].sort().values
    inputs = (inputs - inputs[training].mean(0)) / inputs[training].std(0).clamp_min(1e-6)
    data = Dataset(
        inputs[training], own[training], inputs[test], own[test], tuple(str(int(k)) for k in order)
    )
    return Known(data, _foreign(data, inputs[own < 0], generator))


def _foreign(data: Dataset, unseen: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    rows, columns = data.test_x.shape
    shuffled = torch.stack(
        [data.test_x[torch.randperm(rows, generator=generator), j] for j in range(columns)], 1
    )
    low, high = data.train_x.amin(0), data.train_x.amax(0)
    noise = low + (high - low) * torch.rand((rows, columns), generator=generator)
    found = {"unseen": unseen, "shuffled": shuffled, "noise": noise}
    return {name: value for name, value in found.items() if len(value)}


def _mixture(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Eight normal classes in 16 dimensions, 150 samples each, of one uneven covariance."""
    labels = torch.arange(8).repeat_interleave(150)
    means = 1.2 * torch.randn((8, 16), generator=generator)
    spread = torch.linspace(0.4, 1.6, 16) * torch.eye(16)
    turned, _ = torch.linalg.qr(torch.randn((16, 16), generator=generator))
    noise = torch.randn((labels.numel(), 16), generator=generator)
    return means[labels] + noise @ spread @ turned, labels


def _table(name: str) -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_breast_cancer, load_wine

    bunch = load_wine() if name == WINE else load_breast_cancer()
    return torch.tensor(bunch.data, dtype=torch.float32), torch.tensor(bunch.target)


@dataclass(frozen=True, eq=False)
class Scored:
    """A network, its features of training and test samples, and detectors fitted to the former."""

    model: nn.Sequential
    data: Dataset
    detectors: dict[str, ood.Detector]
    reference: ood.Reference
    test: Tensor

    @classmethod
    def of(cls, model: nn.Sequential, data: Dataset) -> Scored:
        last = head(model)
        bias = None if last.bias is None else last.bias.detach()
        features = penultimate(model, data.train_x)
        reference = ood.Reference.of(features, data.train_y, weight=last.weight.detach(), bias=bias)
        detectors, _ = ood.fitted(reference)
        return cls(model, data, detectors, reference, penultimate(model, data.test_x))

    def auroc(self, inputs: Tensor) -> dict[str, float]:
        """AUROC of every score, test samples against foreign inputs."""
        foreign = penultimate(self.model, inputs)
        return {
            name: told_apart(detector, self.test, foreign)
            for name, detector in self.detectors.items()
        }


def told_apart(detector: ood.Detector, inside: Tensor, foreign: Tensor) -> float:
    """AUROC of one detector."""
    scores = detector.predict_features(torch.cat([inside, foreign]))
    labels = torch.cat([torch.zeros(len(inside)), -torch.ones(len(foreign))])
    return float(ood.auroc_interval(scores, labels)[0])


def rows_of(plan: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """Train the network of a plan (data, widths, batch_norm, epochs, decay) and return a row for
    each foreign set: the document's readings and AUROC by score."""
    found = known(plan["data"], seed)
    model = mlp(
        found.data.num_features,
        plan["widths"],
        found.data.num_classes,
        batch_norm=plan["batch_norm"],
        seed=seed,
    )
    settings = Settings(epochs=plan["epochs"], batch_size=64, weight_decay=plan["decay"], seed=seed)
    train(model, found.data, settings)
    scored = Scored.of(model, found.data)
    document = read(scored).document
    return [
        {
            "data": plan["data"],
            "seed": seed,
            "foreign": kind,
            "document": document,
            "auroc": scored.auroc(inputs),
        }
        for kind, inputs in found.foreign.items()
    ]


def read(scored: Scored) -> Any:
    """The network's measurement, training and test samples, without comparators."""
    data, last = scored.data, head(scored.model)
    features = torch.cat([penultimate(scored.model, data.train_x), scored.test])
    split = ["train"] * len(data.train_y) + ["test"] * len(data.test_y)
    return measure_features(
        features,
        torch.cat([data.train_y, data.test_y]),
        weight=last.weight.detach(),
        bias=None if last.bias is None else last.bias.detach(),
        split=split,
        null=False,
        intervals=False,
        keys=("nc1_ratio", "nc1_fisher", "class_share", "accuracy"),
    )


def plans(small: bool = False) -> list[dict[str, Any]]:
    """Networks of several widths, with and without batch normalisation, decay and patience; small:
    one that is trained for two epochs."""
    wide, middle, narrow = [256, 256, 256], [64, 64], [32]
    if small:
        return [{"widths": [16], "batch_norm": True, "epochs": 2, "decay": 5e-4}]
    return [
        {"widths": widths, "batch_norm": norm, "epochs": epochs, "decay": decay}
        for widths, norm, epochs, decay in (
            (wide, True, 60, 5e-3),
            (wide, True, 8, 0.0),
            (middle, True, 40, 5e-4),
            (middle, False, 40, 5e-4),
            (narrow, True, 60, 1e-2),
            (narrow, False, 20, 0.0),
        )
    ]
