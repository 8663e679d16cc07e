"""certify: a bound that holds at every point and is tight at optima."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError, RescaledSquaredError, named
from ncollapse.theory.certificate import Certified, certify
from ncollapse.theory.problems import UFM
from ncollapse.theory.solve import solve
from tests.theory.oracle import train

COUNTS = (6, 4, 2)
LOSSES = [
    CrossEntropy(),
    CrossEntropy(smoothing=0.1),
    MeanSquaredError(),
    MeanSquaredError(weight=(1.0, 2.0, 3.0)),
    RescaledSquaredError(3.0, 2.0),
    Focal(2.0),
    named("weighted", COUNTS),
    named("la", COUNTS),
    named("cdt", COUNTS),
    named("vs", COUNTS),
]
BIASES = ["none", "free", 2e-2]


def problem(loss, bias) -> UFM:
    return UFM(COUNTS, weight_decay=8e-3, feature_decay=3e-3, loss=loss, bias=bias)


def of_point(p: UFM, weight, features, bias) -> Certified:
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    return certify(
        weight,
        features,
        labels,
        weight_decay=p.weight_decay,
        feature_decay=p.feature_decay,
        loss=p.loss,
        bias=bias,
        bias_decay=p.bias_decay,
    )


@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name)
def test_bound_optimum_value_at_random_points(loss, bias, rng) -> None:
    p = problem(loss, bias)
    best = solve(p, tolerance=1e-10).objective
    for _ in range(15):
        size = rng.uniform(0, 2)
        W, H = size * rng.standard_normal((3, 4)), size * rng.standard_normal((12, 4))
        b = None if bias == "none" else rng.standard_normal(3)
        found = of_point(p, W, H, b)
        assert found.lower_bound <= best + 1e-11
        assert found.objective >= best - 1e-11
        assert found.kind == "dual" and found.gap >= 0


@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name)
def test_tight_at_a_trained_optimum(loss, bias) -> None:
    p = problem(loss, bias)
    trained = train(p)
    found = of_point(p, trained.weight, trained.features, trained.bias)
    assert found.objective == pytest.approx(trained.value, abs=1e-13)
    assert found.gap < 1e-9
    assert found.norm_ratio == pytest.approx(1, abs=1e-6)
    assert found.bias_residual < 1e-8 or bias == 2e-2


def test_a_wrong_free_bias_costs_little(rng) -> None:
    """The bias is optimised before the bound is taken."""
    p = problem(CrossEntropy(), "free")
    trained = train(p)
    shifted = trained.bias + torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    found = of_point(p, trained.weight, trained.features, shifted)
    assert found.bias_residual > 1e-3
    assert trained.value - found.lower_bound < 1e-9


def test_within_class_noise_loosens_the_bound_gently(rng) -> None:
    p = problem(CrossEntropy(), "none")
    trained = train(p)
    noisy = trained.features + 0.1 * torch.from_numpy(rng.standard_normal((12, 4)))
    found = of_point(p, trained.weight, noisy, None)
    assert 0 < trained.value - found.lower_bound < 0.05


def test_arrays_tensors_and_dtypes_agree(rng) -> None:
    p = problem(CrossEntropy(), "none")
    W, H = rng.standard_normal((3, 4)), rng.standard_normal((12, 4))
    plain = of_point(p, W, H, None)
    tensors = of_point(p, torch.tensor(W, requires_grad=True), torch.from_numpy(H), None)
    assert plain == tensors
    halves = of_point(p, W.astype(np.float32), H.astype(np.float32), None)
    assert halves.lower_bound == pytest.approx(plain.lower_bound, rel=1e-5)


GOOD = {"weight": np.ones((2, 3)), "features": np.ones((4, 3)), "labels": np.array([0, 0, 1, 1])}


@pytest.mark.parametrize("bias", BIASES, ids=str)
def test_copies_stand_for_repeated_rows(bias, rng) -> None:
    weight, means = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    p = problem(CrossEntropy(), bias)
    shift = None if bias == "none" else rng.standard_normal(3)
    settings = {"weight_decay": 8e-3, "feature_decay": 3e-3, "loss": p.loss, "bias": shift, "bias_decay": p.bias_decay}  # fmt: skip
    every = certify(weight, np.repeat(means, COUNTS, 0), np.repeat(np.arange(3), COUNTS), **settings)  # fmt: skip
    short = certify(weight, means, np.arange(3), copies=COUNTS, **settings)
    assert short.objective == pytest.approx(every.objective, rel=1e-13)
    assert short.lower_bound == pytest.approx(every.lower_bound, rel=1e-10)
    with pytest.raises(ValueError, match="3 positive numbers"):
        certify(weight, means, np.arange(3), copies=[1, 2], **settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": np.ones((2, 4))}, "shape"),
        ({"labels": np.array([0, 1])}, "4 whole numbers"),
        ({"labels": np.array([0.0, 0, 1, 1])}, "whole numbers"),
        ({"labels": np.array([0, 0, 1, 2])}, "0..1"),
        ({"labels": np.array([0, 0, 0, 0])}, "class 1 has no sample"),
        ({"bias": np.ones(3)}, "bias has shape"),
        ({"features": np.full((4, 3), np.nan)}, "NaN"),
        ({"weight_decay": 0.0}, "weight_decay=0.0"),
        ({"feature_decay": -1.0}, "feature_decay"),
        ({"bias_decay": -1.0}, "bias_decay"),
        ({"loss": CrossEntropy(weight=(1.0, 1.0, 1.0))}, "3 entries"),
    ],
)
def test_bad_input(change, message) -> None:
    given = {**GOOD, "weight_decay": 1e-3, "feature_decay": 1e-3, "loss": CrossEntropy(), **change}
    arrays = [given.pop(name) for name in ("weight", "features", "labels")]
    with pytest.raises(ValueError, match=message):
        certify(*arrays, **given)
