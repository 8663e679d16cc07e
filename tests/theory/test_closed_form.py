"""Formulas against the convex solver, brute force, and the values they are known for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError, RescaledSquaredError
from ncollapse.theory.problems import GUFM, LPM, UFM, ULPM, NormalizedUFM
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.closed_form import closed_form
from tests.theory.laws import formula
from tests.theory.oracle import train

DECAYS = {"weight_decay": 4e-3, "feature_decay": 2e-3}


RESCALED = [(1.0, 1.0), (15.0, 30.0), (0.3, 2.0)]


@pytest.mark.parametrize(("factor", "target"), RESCALED)
@pytest.mark.parametrize("weight", [None, (1.0, 1.0, 2.0, 0.5)], ids=["plain", "weighted"])
@pytest.mark.parametrize("decay", [1e-3, 0.2, 2.0])
def test_rescaled_squares_without_a_bias_are_diagonal(factor, target, weight, decay) -> None:
    loss = RescaledSquaredError(factor, target, weight)
    counts = (9, 9, 4, 2)
    p = UFM(counts, decay, decay, loss=loss, bias="none")
    # κM² = 13500 beside an optimum near 0.1 leaves its rounding in the bound.
    exactly_as_convex(p, 1e-10)
    shares = np.array(counts) / sum(counts)
    wanted = target - p.tau / (factor * np.array(p.class_weights) * np.sqrt(shares))
    np.testing.assert_allclose(solve(p).logits, np.diag(np.maximum(wanted, 0)), atol=1e-12 * target)


@pytest.mark.parametrize(("factor", "target"), RESCALED)
@pytest.mark.parametrize("decay", [1e-3, 0.05, 0.6, 5.0])
def test_balanced_rescaled_squares_with_a_free_bias_are_a_simplex(factor, target, decay) -> None:
    loss = RescaledSquaredError(factor, target)
    p = UFM((5,) * 4, decay, decay, loss=loss, bias="free")
    exactly_as_convex(p)
    margin = max(target - p.tau / 2 * (1 + 3 / factor), 0.0)
    assert solve(p).margins.tolist() == pytest.approx([margin] * 4, abs=1e-12 * target)


@pytest.mark.parametrize("bias", ["none", "free", 0.1])
@pytest.mark.parametrize("counts", [(6, 6, 6), (9, 5, 5, 2)])
@pytest.mark.parametrize("width", [None, 2])
def test_rescaled_squares_of_one_are_mean_squared_error(counts, bias, width) -> None:
    plain = UFM(counts, 6e-3, 2e-3, MeanSquaredError(), bias, num_features=width)
    first = solve(plain, tolerance=1e-13)
    second = solve(replace(plain, loss=RescaledSquaredError()), tolerance=1e-13)
    assert first.objective == pytest.approx(second.objective, abs=1e-12)
    if width is None:
        grams = [s.geometry.weight @ s.geometry.weight.T for s in (first, second)]
        torch.testing.assert_close(*grams, rtol=0, atol=1e-12)


def exactly_as_convex(problem: UFM, tolerance: float = 1e-12) -> None:
    exact = solve(problem, solver="closed form")
    other = solve(problem, solver="convex", tolerance=tolerance)
    assert exact.status == other.status == "optimal" and exact.gap == 0
    scale = max(1.0, exact.objective)
    assert exact.objective == pytest.approx(other.objective, abs=1e-10 * scale)
    assert exact.objective >= other.certificate.lower_bound - 1e-13 * scale
    if exact.rank:
        assert float(exact.geometry.distance(other.geometry)) < 1e-5
    np.testing.assert_allclose(exact.spectrum, other.spectrum, atol=1e-5)
    for mine, his in zip(exact.spreads, other.spreads, strict=True):
        assert mine == pytest.approx(his, abs=1e-5)


@pytest.mark.parametrize("bias", ["none", "free", 1e-2])
@pytest.mark.parametrize(
    "loss",
    [CrossEntropy(), CrossEntropy(0.1), Focal(2.0), Focal(0.0), MeanSquaredError()],
    ids=lambda x: x.name,
)
@pytest.mark.parametrize("num_classes", [2, 4, 10])
def test_balanced(num_classes, loss, bias) -> None:
    exactly_as_convex(UFM((7,) * num_classes, loss=loss, bias=bias, **DECAYS))


@pytest.mark.parametrize("bias", ["none", "free"])
@pytest.mark.parametrize("counts", [(40, 25, 12, 7, 3), (9, 9, 4, 4, 4)], ids=str)
def test_squares_of_any_counts(counts, bias) -> None:
    exactly_as_convex(UFM(counts, loss=MeanSquaredError(), bias=bias, **DECAYS))


def test_balanced_margin_norms_and_value() -> None:
    """a = log(1/c - K + 1), |w|² = √(nλ_H/λ_W) a (K-1)/K, f* = h(q) + q log(K-1), q = (K-1) c."""
    K, n, lw, lh = 6, 7, 4e-3, 2e-3
    found = closed_form(UFM((n,) * K, weight_decay=lw, feature_decay=lh))
    assert found is not None
    c = math.sqrt(n * lw * lh)
    a, q = math.log(1 / c - K + 1), (K - 1) * c
    value = -(1 - q) * math.log(1 - q) - q * math.log(q / (K - 1))
    assert found.objective == pytest.approx(value, abs=1e-14)
    np.testing.assert_allclose(found.margins, a, atol=1e-13)
    g = found.geometry
    length = math.sqrt(math.sqrt(n * lh / lw) * a * (K - 1) / K)
    np.testing.assert_allclose(g.weight.norm(dim=1), length, atol=1e-13)
    np.testing.assert_allclose(g.weight, math.sqrt(n * lh / lw) * g.means, atol=1e-13)


def test_squares_with_a_decayed_bias_turn_from_orthogonal_to_simplex() -> None:
    K, n = 4, 10
    c = math.sqrt(n * DECAYS["weight_decay"] * DECAYS["feature_decay"])
    for decay in (1e-3, 0.3, 10.0):
        found = closed_form(UFM((n,) * K, loss=MeanSquaredError(), bias=decay, **DECAYS))
        assert found is not None
        a, g = 1 - c * K, max(1 - c * K * (1 + 1 / decay), 0.0)
        means = found.geometry.means
        cosine = float(means[0] @ means[1] / means[0].norm() / means[1].norm())
        assert cosine == pytest.approx((g - a) / (g + a * (K - 1)), abs=1e-12)
        assert found.rank == (K if g else K - 1)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_narrow_squares(width) -> None:
    """Balanced: f = ½(K-1)/K + d (τσ - τ²/2 - σ²/2), σ = 1/√K."""
    p = UFM((6,) * 6, loss=MeanSquaredError(), num_features=width, **DECAYS)
    found = closed_form(p)
    sigma = 1 / math.sqrt(6)
    cost = p.tau * sigma - p.tau**2 / 2 - sigma**2 / 2
    assert found is not None
    assert found.objective == pytest.approx(0.5 * 5 / 6 + width * cost, abs=1e-14)
    assert found.geometry.num_features == width and found.rank == width


@pytest.mark.parametrize("counts", [(6, 3, 3, 2), (8, 4, 1)], ids=str)
def test_nonnegative_features_are_orthogonal(counts) -> None:
    p = UFM(counts, bias="none", nonnegative=True, **DECAYS)
    found = closed_form(p)
    assert found is not None and float(found.geometry.means.min()) >= 0
    gram = found.geometry.means @ found.geometry.means.T
    assert float((gram - gram.diag().diag()).abs().max()) == 0
    # The value is the objective of the geometry, and no random start ends lower.
    g = found.geometry
    share = g.counts.to(torch.float64) / p.num_samples
    logits = g.means @ g.weight.T
    value = share @ p.loss(logits, torch.arange(len(counts)))
    value += p.weight_decay / 2 * (g.weight**2).sum()
    value += p.feature_decay / 2 * (g.counts.to(torch.float64) @ (g.means**2).sum(1))
    assert found.objective == pytest.approx(float(value), abs=1e-13)
    assert solve(replace(p, nonnegative=False)).objective < found.objective
    for seed in range(4):
        trained = solve(p, solver="descent", seed=seed)
        assert trained.objective >= found.objective - 1e-9
    # A class vanishes from n_k = N² λ_W λ_H K/(K-1) on.
    bar = p.num_samples**2 * p.weight_decay * p.feature_decay * len(counts) / (len(counts) - 1)
    dead = [k for k, n in enumerate(counts) if n <= bar]
    assert [k for k in range(len(counts)) if float(g.means[k].norm()) == 0] == dead


def test_focal_leaves_the_closed_form_where_it_is_not_convex() -> None:
    strong = {"weight_decay": 1e-1, "feature_decay": 3e-2}
    assert closed_form(UFM((5,) * 10, loss=Focal(2.0), **DECAYS)) is not None
    beyond = UFM((5,) * 10, loss=Focal(2.0), **strong)
    assert closed_form(beyond) is None and solve(beyond).status == "not certified"


# ---- other problems -----------------------------------------------------------------------------
def test_normalised_and_peeled_values() -> None:
    """f* = log(1 + (K-1) e^{-s K/(K-1)}) with s = t, or √(E_W E_H)."""
    K, s = 5, 2.5
    value = math.log1p((K - 1) * math.exp(-s * K / (K - 1)))
    found = formula(NormalizedUFM((3,) * K, temperature=s))
    assert found is not None and found.objective == pytest.approx(value, abs=1e-14)
    assert float((found.geometry.weight.norm(dim=1) - 1).abs().max()) < 1e-14
    p = LPM((3,) * K, weight_energy=1.25, feature_energy=s**2 / 1.25)
    peeled = formula(p)
    assert peeled is not None and peeled.objective == pytest.approx(value, abs=1e-14)
    convex = solve(p, solver="convex", tolerance=1e-11)
    assert convex.objective == pytest.approx(value, abs=1e-10)
    assert float(convex.geometry.distance(peeled.geometry)) < 1e-5
    assert train(p, seeds=1).value == pytest.approx(value, abs=1e-10)


def test_generalised_values() -> None:
    """CE at K = 10, λ = 5e-3: .47532 at w = 3.490; MSE at λ = 1e-3: .0049505."""
    found = formula(GUFM((4,) * 10, weight_decay=5e-3))
    assert found is not None and found.objective == pytest.approx(0.47532, abs=5e-6)
    assert found.extra["weight_norm"] == pytest.approx(3.490, abs=5e-4)
    squares = formula(GUFM((4,) * 10, weight_decay=1e-3, loss=MeanSquaredError()))
    assert squares is not None and squares.objective == pytest.approx(0.0049505, abs=5e-8)
    for solution in (found, squares):
        means = solution.geometry.means
        assert float(means.mean(1).abs().max()) < 1e-14
        assert float((means.norm(dim=1) - 1).abs().max()) < 1e-14
    assert formula(GUFM((4, 3), weight_decay=1e-3)) is None
    assert formula(GUFM((4,) * 10, num_features=9)) is None


@pytest.mark.parametrize("counts", [(6, 6, 6), (8, 5, 3)], ids=str)
def test_direction_without_decay(counts) -> None:
    """Margins of exactly one at least norm; √n (K-1) for balanced classes."""
    found = formula(ULPM(counts))
    assert found is not None
    np.testing.assert_allclose(found.margins, 1.0, atol=1e-12)
    g = found.geometry
    energy = (g.weight**2).sum() + (g.counts[:, None] * g.means**2).sum()
    assert found.objective == pytest.approx(float(energy) / 2, rel=1e-12)
    if len(set(counts)) == 1:
        assert found.objective == pytest.approx(math.sqrt(6) * 2)
    assert formula(ULPM(counts, num_features=1)) is None


@pytest.mark.parametrize("counts", [(6, 6, 6), (8, 5, 3), (100, 20, 20, 3, 1)], ids=str)
def test_direction_without_decay_has_multipliers(counts) -> None:
    """Optimal by duality: U Vᵀ diag(√n) pushes no wrong logit up, and its columns sum to zero."""
    K = len(counts)
    root = np.sqrt(counts)
    U, _, Vt = np.linalg.svd((np.eye(K) - 1 / K) * root)
    pull = (U[:, : K - 1] @ Vt[: K - 1]) * root
    assert (pull - np.diag(np.diag(pull)) <= 1e-12).all()
    np.testing.assert_allclose(pull.sum(0), 0, atol=1e-12)
    found = formula(ULPM(counts))
    # With unit margins the dual value is the sum of the multipliers.
    assert found is not None and found.objective == pytest.approx(np.trace(pull))
