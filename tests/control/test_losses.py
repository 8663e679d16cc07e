"""Losses: values against their formulas, where their minima lie, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.control import (
    ClassDependentTemperatureLoss,
    DotRegressionLoss,
    FocalLoss,
    LabelSmoothingLoss,
    LogitAdjustedLoss,
    MeanLoss,
    MSELoss,
    RescaledMSELoss,
    SimplexHead,
    SupervisedContrastiveLoss,
    VectorScalingLoss,
)
from ncollapse.errors import NCollapseWarning
from ncollapse.losses import DotRegression, RescaledSquaredError, SupervisedContrastive
from ncollapse.metrics.catalog import METRICS

K = 4
COUNTS = [20, 10, 6, 4]


def logits(samples: int = 12, classes: int = K, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return found, torch.arange(samples) % classes


@pytest.mark.parametrize(
    ("module", "name", "parameters"),
    [
        (LabelSmoothingLoss(0.2), "ls", {"smoothing": 0.2}),
        (MSELoss(), "mse", {}),
        (FocalLoss(3.0), "focal", {"gamma": 3.0}),
        (LogitAdjustedLoss(COUNTS), "la", {}),
        (ClassDependentTemperatureLoss(COUNTS, 0.2), "cdt", {"gamma": 0.2}),
        (VectorScalingLoss(COUNTS), "vs", {}),
    ],
)
def test_modules_are_means_of_what_theory_predicts_for(module, name: str, parameters) -> None:
    z, y = logits()
    per_sample = nc.losses.named(name, COUNTS, **parameters)
    assert module.loss == per_sample
    torch.testing.assert_close(module(z, y), per_sample(z, y).mean())
    assert per_sample.name in repr(module)
    assert isinstance(module, MeanLoss)


def test_losses_that_torch_has_are_torchs() -> None:
    z, y = logits()
    torch.testing.assert_close(
        LabelSmoothingLoss(0.1)(z, y), nn.CrossEntropyLoss(label_smoothing=0.1)(z, y)
    )
    torch.testing.assert_close(
        MSELoss()(z, y), K / 2 * functional.mse_loss(z, functional.one_hot(y, K).double())
    )


def test_rescaled_squared_error() -> None:
    z, y = logits()
    torch.testing.assert_close(RescaledMSELoss()(z, y), MSELoss()(z, y))
    wanted = [
        0.5 * (3 * (row[k] - 2) ** 2 + sum(row[j] ** 2 for j in range(K) if j != k))
        for row, k in zip(z, y.tolist(), strict=True)
    ]
    found = RescaledSquaredError(3, 2, weight=(1.0, 2.0, 1.0, 1.0))(z, y)
    torch.testing.assert_close(found, torch.stack(wanted) * (1 + (y == 1)))


def test_dot_regression_in_both_forms() -> None:
    z, y = logits()
    own = z[torch.arange(12), y]
    torch.testing.assert_close(DotRegression()(z, y), 0.5 * (own - 1) ** 2)
    torch.testing.assert_close(DotRegression(4, 9)(z, y), (own - 6) ** 2 / 12)
    features = torch.randn(12, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = 2 * SimplexHead(8, K).double().weight
    dot = (features * weight[y]).sum(1)
    length = features.norm(dim=1)
    wanted = 0.5 * ((dot - 2 * length) ** 2 / length).mean()
    released = DotRegressionLoss(form="released")
    torch.testing.assert_close(released(features @ weight.T, y, features, weight), wanted)
    # At unit lengths the two forms are one.
    unit = functional.normalize(features, dim=1)
    torch.testing.assert_close(
        released(unit @ weight.T / 2, y, unit, weight / 2),
        DotRegressionLoss()(unit @ weight.T / 2, y),
    )


def free_features(objective, samples: int, d: int, steps: int, rate: float) -> torch.Tensor:
    """Features themselves as what is trained, by plain gradient descent."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(samples, d, generator=generator).requires_grad_()
    optimizer = torch.optim.SGD([features], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(features).backward()
        optimizer.step()
    return features.detach()


@pytest.mark.parametrize("form", ["paper", "released"])
def test_dot_regression_aligns_features_whatever_the_counts(form: str) -> None:
    y = torch.tensor([0] * 20 + [1] * 3 + [2] * 2 + [3])
    head = SimplexHead(6, K, normalize=form == "paper")
    loss = DotRegressionLoss(form=form)

    def objective(features):
        return loss(head(features), y, features, head.weight)

    # The pull is (1 - cos)², flat at its minimum: cosines come near 1 slowly.
    found = functional.normalize(free_features(objective, 26, 6, 1000, 10.0), dim=1)
    cosines = (found * head.weight[y]).sum(1)
    assert float(cosines.min()) > 0.97
    assert float(cosines[y == 3]) > float(cosines[y == 0].min()) - 0.02


def test_the_paper_form_says_when_features_are_not_limited() -> None:
    z, y = logits()
    loss = DotRegressionLoss()
    with pytest.warns(NCollapseWarning, match="normalize=True"):
        loss(5 * z, y)
    loss(5 * z, y)  # Once.


def test_supervised_contrastive_is_its_formula_and_collapses_to_a_simplex() -> None:
    features, _ = logits(9, 5)
    y = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 3])
    z = functional.normalize(features, dim=1)
    score = (z @ z.T / 0.5).exp()
    wanted = []
    for i in range(9):
        rest = sum(score[i, a] for a in range(9) if a != i)
        terms = [-(score[i, p] / rest).log() for p in range(9) if p != i and y[p] == y[i]]
        wanted.append(torch.stack(terms).mean() if terms else torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(SupervisedContrastive(0.5)(features, y), torch.stack(wanted))
    torch.testing.assert_close(SupervisedContrastiveLoss(0.5)(features, y), sum(wanted) / 8)
    assert float(SupervisedContrastiveLoss()(features[:1], y[:1])) == 0
    assert float(SupervisedContrastiveLoss()(features[5:9:3], y[5:9:3])) == 0
    labels = torch.arange(20) % K
    trained = free_features(lambda h: SupervisedContrastiveLoss(0.5)(h, labels), 20, 6, 500, 3.0)
    moments = nc.ClassMoments(K, 6)
    moments.update(functional.normalize(trained, dim=1), labels)
    assert float(METRICS["nc2_etf_means"].evaluate(geometry=moments.geometry())) < 0.01


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: DotRegressionLoss(form="other"), "'paper' or 'released'"),
        (lambda: DotRegressionLoss(0.0), "weight_energy"),
        (lambda: RescaledMSELoss(factor=-1.0), "factor"),
        (lambda: SupervisedContrastiveLoss(0.0), "temperature"),
        (lambda: LogitAdjustedLoss([3]), "at least 2 positive class counts"),
        (lambda: DotRegressionLoss(form="released")(*logits()), "features and"),
        (lambda: LogitAdjustedLoss([3, 2])(*logits()), "one entry a class"),
        (lambda: nc.predict(COUNTS, loss=DotRegression()), "own logits only"),
    ],
)
def test_bad_arguments_are_explained(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
