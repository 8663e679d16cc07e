"""Brute-force training reaches the closed forms, by every method and for every problem."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError, RescaledSquaredError
from ncollapse.theory.problems import GUFM, LPM, UFM, ULPM, NormalizedUFM
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.descent import METHODS, descend
from tests.theory.laws import one_feature_a_class_loses_nothing

K, N, DECAY = 4, 5, 5e-3
C = math.sqrt(N) * DECAY


def balanced(**settings) -> UFM:
    settings = {"weight_decay": DECAY, "feature_decay": DECAY, **settings}
    return UFM((N,) * K, **settings)


def entropy_value(c: float, smoothing: float = 0.0) -> float:
    """Smallest objective of balanced cross-entropy: h(q) + q log(K-1), q = (K-1)(c + ε/K)."""
    q = (K - 1) * (c + smoothing / K)
    return -q * math.log(q) - (1 - q) * math.log(1 - q) + q * math.log(K - 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bias", ["none", "free", 0.3])
def test_every_method_reaches_the_optimum_of_balanced_cross_entropy(
    method: str, bias: str | float
) -> None:
    found = descend(balanced(bias=bias), method=method, seed=1)
    assert found.objective == pytest.approx(entropy_value(C), abs=1e-13)
    assert found.status == "optimal" and found.relative_gap < 1e-8
    a = math.log(1 / C - K + 1)
    wanted = a * (torch.eye(K, dtype=torch.float64) - 1 / K)
    torch.testing.assert_close(found.logits, wanted, rtol=0, atol=1e-6)
    lengths = found.geometry.weight.norm(dim=1)
    expected = math.sqrt(math.sqrt(N) * a * (K - 1) / K)
    torch.testing.assert_close(lengths, torch.full((K,), expected).double(), rtol=0, atol=1e-6)
    assert found.extra["nc1"] < 1e-12 and found.rank == K - 1


def test_smoothing_shifts_the_decay() -> None:
    found = descend(balanced(loss=CrossEntropy(0.2)))
    assert found.objective == pytest.approx(entropy_value(C, 0.2), abs=1e-13)


def test_strong_decay_ends_at_zero() -> None:
    decay = 1.02 / (math.sqrt(N) * K)
    found = descend(balanced(weight_decay=decay, feature_decay=decay), seed=2)
    assert found.objective == pytest.approx(math.log(K), abs=1e-13)
    assert float(found.extra["point"].weight.abs().max()) < 1e-5
    below = decay * 0.98 / 1.02
    found = descend(balanced(weight_decay=below, feature_decay=below), seed=2)
    assert float(found.extra["point"].weight.norm()) > 0.5


@pytest.mark.parametrize("bias", ["none", "free", 1e-3, 0.3])
def test_mean_squared_error_has_its_closed_form(bias: str | float) -> None:
    found = descend(balanced(loss=MeanSquaredError(), bias=bias), seed=1)
    a = max(1 - C * K, 0.0)
    if bias == "none":
        wanted = a * torch.eye(K)
    else:
        g = max(1 - C * K * (1 + 1 / bias), 0.0) if bias != "free" else 0.0
        weight, means = found.geometry.weight, found.geometry.means
        product = weight @ means.T
        wanted = a * (torch.eye(K) - 1 / K) + g / K
        torch.testing.assert_close(product, wanted.double(), rtol=0, atol=1e-7)
        return
    torch.testing.assert_close(found.logits, wanted.double(), rtol=0, atol=1e-7)


def test_narrow_mean_squared_error_has_its_closed_form() -> None:
    tau, sigma = C * math.sqrt(K), 1 / math.sqrt(K)
    for d in (1, 2):
        found = descend(balanced(loss=MeanSquaredError(), num_features=d), seed=3)
        wanted = 0.5 * (K - 1) / K + d * (tau * sigma - tau**2 / 2 - sigma**2 / 2)
        assert found.objective == pytest.approx(wanted, abs=1e-12)


def test_focal_loss_has_its_closed_form() -> None:
    gamma = 2.0
    found = descend(balanced(loss=Focal(gamma), bias="none"), seed=1)
    logits = found.logits
    a = float(logits[0, 0] - logits[0, 1])
    p = math.exp(a) / (math.exp(a) + K - 1)
    slope = (1 - p) ** gamma * ((1 - p) - gamma * p * math.log(p))
    assert slope == pytest.approx(C * (K - 1), abs=1e-9)


def test_unit_spheres_and_balls_have_their_closed_form() -> None:
    found = descend(NormalizedUFM((3, 3, 3), temperature=3.0))
    assert found.objective == pytest.approx(math.log(1 + 2 * math.exp(-4.5)), abs=1e-13)
    assert found.status == "not certified" and found.certificate.lower_bound is None
    found = descend(LPM((2, 2, 2, 2), 2.0, 3.0), seed=1)
    wanted = math.log(1 + 3 * math.exp(-4 / 3 * math.sqrt(6)))
    assert found.objective == pytest.approx(wanted, abs=1e-13)


def test_a_ball_may_be_used_in_its_inside() -> None:
    found = descend(LPM((2, 3, 2), 9.0, 9.0, MeanSquaredError()), seed=1)
    assert found.objective < 1e-15
    assert float(found.extra["point"].weight.square().sum()) / 3 < 9.0


def test_generalised_features_make_a_simplex() -> None:
    found = descend(GUFM((3, 3, 3, 3), weight_decay=0.01), seed=1)
    means = found.geometry.means
    gram = means @ means.T
    wanted = (torch.eye(4) * 4 - 1).double() / 3
    torch.testing.assert_close(gram, wanted, rtol=0, atol=1e-7)


def test_nonnegative_features_are_orthogonal() -> None:
    runs = [descend(balanced(nonnegative=True, bias="none"), seed=s) for s in range(12)]
    best = min(runs, key=lambda found: found.objective)
    assert float(best.extra["point"].features.min()) >= 0
    a = math.log(math.sqrt(K * (K - 1) * N) / (DECAY * K * N) - (K - 1))
    length = math.sqrt((K - 1) / (K * N)) * a
    gram = best.geometry.means @ best.geometry.means.T
    torch.testing.assert_close(gram, length * torch.eye(K).double(), rtol=0, atol=1e-6)


ONE_A_CLASS = [
    UFM((6, 4, 2), 6e-3, 2e-3, bias="free", nonnegative=True),
    UFM((6, 4, 2), 6e-3, 2e-3, MeanSquaredError(), 0.1, nonnegative=True),
    UFM((6, 4, 2), 6e-3, 2e-3, RescaledSquaredError(2.0, 1.5), "none", nonnegative=True),
    UFM((6, 4, 2), 6e-3, 2e-3, Focal(2.0), "free", nonnegative=True),
    UFM((6, 4, 2), 6e-3, 2e-3, bias=0.1),
    LPM((6, 4, 2), 1.0, 2.0),
    NormalizedUFM((6, 4, 2), temperature=2.0),
    GUFM((6, 4, 2), weight_decay=1e-2),
]


@pytest.mark.parametrize("problem", ONE_A_CLASS, ids=lambda p: type(p).__name__)
def test_one_feature_a_class_loses_nothing(problem) -> None:
    one_feature_a_class_loses_nothing(problem)


@pytest.mark.parametrize("bias", ["free", 0.05])
def test_nonnegative_features_cost_the_same_for_any_number_of_samples(bias) -> None:
    found = []
    for n in (1, 100_000):
        problem = UFM((4 * n, 3 * n, 2 * n, n), 2e-2 / n, 5e-3, bias=bias, nonnegative=True)
        found.append(solve(problem))
    few, many = found
    assert few.objective == pytest.approx(many.objective, abs=1e-12)
    assert few.iterations == pytest.approx(many.iterations, abs=40)
    assert few.status == many.status == "not certified"
    assert "the best of 4 starts" in many.advice
    assert many.certificate.lower_bound == pytest.approx(few.certificate.lower_bound, abs=1e-10)
    assert float(many.geometry.means.min()) >= 0


def test_one_feature_a_class_is_refused_where_it_may_lose_something() -> None:
    with pytest.raises(ValueError, match="not known to be optimal"):
        descend(LPM((3, 2), loss=Focal(2.0)), per_class=True)


def test_a_lower_bound_holds_at_points_that_are_not_optimal() -> None:
    problem = UFM((6, 3, 2), weight_decay=0.01, feature_decay=0.01)
    best = descend(problem)
    assert best.status == "optimal"
    rough = descend(problem, method="gradient", max_iterations=5)
    assert rough.status == "not converged" and "more iterations" in rough.advice
    assert rough.certificate.lower_bound <= best.objective + 1e-12 <= rough.objective


def test_descent_goes_on_from_a_start() -> None:
    problem = UFM((4, 2, 3), weight_decay=0.01, feature_decay=0.01)
    first = descend(problem, max_iterations=5, method="accelerated", width=5)
    second = descend(problem, start=first.extra["point"])
    assert second.objective < first.objective
    assert second.geometry.num_features == 5
    assert second.certificate.stationarity < 1e-10


def test_the_same_seed_gives_the_same_point() -> None:
    one, two = descend(balanced(), seed=4), descend(balanced(), seed=4)
    assert torch.equal(one.extra["point"].features, two.extra["point"].features)


@pytest.mark.parametrize("seed", range(5))
def test_plain_gradient_descent_needs_no_luck(seed: int) -> None:
    problem = UFM((20, 10, 5, 5), weight_decay=2e-3, feature_decay=2e-3)
    slow = descend(problem, seed=seed, method="gradient", max_iterations=200_000)
    assert slow.status == "optimal"
    spectrum = descend(problem).spectrum
    np.testing.assert_allclose(slow.spectrum, spectrum, atol=1e-5)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="flow"):
        descend(ULPM((2, 2)))
    with pytest.raises(ValueError, match="method 'adam'"):
        descend(balanced(), method="adam")
    for name in ("scale", "tolerance", "max_iterations"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            descend(balanced(), **{name: 0})
    start = Objective(balanced(bias="none")).unpack(Objective(balanced(bias="none")).start())
    with pytest.raises(ValueError, match="shapes"):
        descend(balanced(bias="free"), start=start)
