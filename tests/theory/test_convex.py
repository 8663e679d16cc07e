"""The certified solver: bounds, grouped = ungrouped, known values, speed, and its own parts."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError, RescaledSquaredError, named
from ncollapse.theory.solvers import newton
from ncollapse.theory.solvers.convex import minimize
from ncollapse.theory.solvers.newton import Spectrum, newton_direction
from ncollapse.theory.solvers.relaxation import Point, Relaxation

COUNTS = (20, 20, 8, 5, 5)
TAU = (58 * 6e-6) ** 0.5
LOSSES = {
    "ce": CrossEntropy(),
    "ls": CrossEntropy(0.1),
    "mse": MeanSquaredError(),
    "rescaled": RescaledSquaredError(15.0, 30.0, (1, 1, 2, 3, 3)),
    "weighted mse": MeanSquaredError(weight=(1, 1, 2, 3, 3)),
    "focal": Focal(2.0),
    "weighted": named("weighted", COUNTS),
    "la": named("la", COUNTS),
    "cdt": named("cdt", COUNTS),
    "vs": named("vs", COUNTS),
}
BIASES = [None, 0.0, 1e-2]


def random_point(problem: Relaxation, rng: np.random.Generator) -> Point:
    g = problem.groups.number
    spread = np.where(problem.groups.several, rng.uniform(0, 1, g), 0.0)
    bias = None if problem.bias_decay is None else rng.standard_normal(g)
    return Point(spread, rng.standard_normal((g, g)), bias)


def long_tail(num_classes: int, largest: int, ratio: float) -> tuple[int, ...]:
    powers = np.arange(num_classes) / (num_classes - 1)
    return tuple(int(n) for n in np.round(largest * ratio**-powers))


# Values of an independent solver of the same problem, gaps below 1e-12.
@pytest.mark.parametrize(
    ("name", "bias", "value"),
    [
        ("ce", None, 0.185122968130),
        ("ce", 0.0, 0.175871943508),
        ("ce", 1e-2, 0.182223973249),
        ("ls", None, 0.505995989846),
        ("ls", 0.0, 0.500221138000),
        ("ls", 1e-2, 0.503308794085),
        ("mse", None, 0.038921556681),
        ("mse", 0.0, 0.029987092503),
        ("mse", 1e-2, 0.031271146910),
        ("focal", None, 0.096303919084),
    ],
)
def test_known_values(name, bias, value) -> None:
    found = minimize(Relaxation(COUNTS, LOSSES[name], TAU, bias), tolerance=1e-11)
    assert found.converged and abs(found.objective - value) <= 2e-11


@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_bounds_lie_below_the_optimum_and_values_above(name, bias, rng) -> None:
    problem = Relaxation(COUNTS, LOSSES[name], TAU, bias)
    best = minimize(problem, tolerance=1e-11)
    assert best.converged and best.relative_gap <= 1e-11
    for _ in range(30):
        point = random_point(problem, rng)
        slope = problem.slope(point)
        assert problem.objective(point) >= best.objective - 1e-12
        assert problem.bound(slope.own, slope.others).value <= best.objective + 1e-12


@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_grouped_equals_ungrouped(name, bias) -> None:
    grouped = Relaxation(COUNTS, LOSSES[name], TAU, bias)
    single = Relaxation(COUNTS, LOSSES[name], TAU, bias, merge=False)
    assert grouped.groups.number == 3 and single.groups.number == 5
    first, second = (minimize(p, tolerance=1e-12) for p in (grouped, single))
    assert first.objective == pytest.approx(second.objective, abs=1e-11)
    np.testing.assert_allclose(
        grouped.matrix(first.point).dense(), single.matrix(second.point).dense(), atol=1e-5
    )


@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("name", ["ce", "ls", "mse", "rescaled", "focal", "vs"])
def test_gradients_and_polish(name, bias, rng) -> None:
    problem = Relaxation(COUNTS, LOSSES[name], TAU, bias)
    point, other = random_point(problem, rng), random_point(problem, rng)
    slope, step = problem.slope(point), 1e-6

    def moved(length: float) -> Point:
        bias = None
        if point.bias is not None and other.bias is not None:
            bias = point.bias + length * other.bias
        return Point(point.spread + length * other.spread, point.core + length * other.core, bias)

    numeric = (problem.smooth(moved(step)) - problem.smooth(moved(-step))) / (2 * step)
    exact = slope.spread @ other.spread + np.vdot(slope.core, other.core)
    if slope.bias is not None and other.bias is not None:
        exact += slope.bias @ other.bias
        polished = problem.polish_bias(point, rounds=50)
        assert np.abs(problem.slope(polished).bias).max() < 1e-12
        assert problem.smooth(polished) <= problem.smooth(point)
    assert exact == pytest.approx(numeric, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("small", [newton.SMALL, 0], ids=["double", "single"])
def test_newton_direction_is_exact_to_second_order(monkeypatch, small) -> None:
    """Near a minimiser of full active rank one step squares the distance, in the precision of many
    groups too."""
    monkeypatch.setattr(newton, "SMALL", small)
    problem = Relaxation(COUNTS, CrossEntropy(), TAU, 0.0)
    best = minimize(problem, tolerance=1e-13).point
    assert best.bias is not None
    left, values, right = np.linalg.svd(best.core)
    values[-1] = 0.0
    near = values.copy()
    near[:-1] *= 1.001
    point = Point(best.spread * 1.001, (left * near) @ right, best.bias)
    step, _ = newton_direction(
        problem, point, Spectrum(left, near, right.T), problem.slope(point), 1e-10
    )
    start = np.abs(point.core - best.core).max()
    assert np.abs(point.core + step.core - best.core).max() < 0.02 * start


def test_a_free_bias_is_made_feasible_not_assumed(rng) -> None:
    """Without the repair a bound from a point with a wrong bias could exceed the optimum."""
    problem = Relaxation(COUNTS, CrossEntropy(), TAU, 0.0)
    best = minimize(problem, tolerance=1e-12)
    wrong = Point(best.point.spread, best.point.core, np.array([3.0, 0.0, -2.0]))
    slope = problem.slope(wrong)
    bound = problem.bound(slope.own, slope.others)
    assert bound.residual > 1e-2 and bound.value < best.objective


@pytest.mark.parametrize("decay", [1e-3, 1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize("name", ["ce", "mse", "rescaled", "focal", "la", "cdt"])
def test_small_decays_converge_too(name, decay) -> None:
    counts = long_tail(12, 500, 100)
    loss = named(name, counts, **({"factor": 15, "target": 30} if name == "rescaled" else {}))
    for bias in BIASES:
        problem = Relaxation(counts, loss, (sum(counts) * 5e-4 * decay) ** 0.5, bias)
        assert minimize(problem, max_iterations=2000).converged


def test_random_problems_all_converge(rng) -> None:
    """Any counts, loss, bias and decays over four orders: no setting needs care."""
    for _ in range(40):
        K = int(rng.integers(2, 16))
        counts = np.exp(rng.uniform(0, rng.choice([1, 4, 8]), K)).astype(int) + 1
        if rng.random() < 0.4:
            counts = rng.choice(counts[: max(1, K // 3)], K)
        kinds = ["ce", "ls", "mse", "focal", "weighted", "la", "cdt", "vs"]
        loss = named(str(rng.choice(kinds)), tuple(counts.tolist()))
        bias = (None, 0.0, float(10 ** rng.uniform(-4, 0)))[rng.integers(3)]
        tau = float(np.sqrt(counts.sum()) * 10 ** rng.uniform(-6, -1.5))
        found = minimize(Relaxation(tuple(counts.tolist()), loss, tau, bias), max_iterations=2000)
        assert found.converged


@pytest.mark.parametrize("bias", [None, 0.0, 1e-2], ids=str)
def test_a_conic_solver_agrees(bias) -> None:
    cp = pytest.importorskip("cvxpy")
    problem = Relaxation(COUNTS, CrossEntropy(), TAU, bias)
    share = np.array(COUNTS) / sum(COUNTS)
    A, b = cp.Variable((5, 5)), cp.Variable(5)
    Z = A @ np.diag(share**-0.5) + cp.reshape(b, (5, 1), order="F") @ np.ones((1, 5))
    loss = sum(share[k] * (cp.log_sum_exp(Z[:, k]) - Z[k, k]) for k in range(5))
    bounds = [b == 0] if bias is None else []
    energy = (bias or 0.0) / 2 * cp.sum_squares(b)
    conic = cp.Problem(cp.Minimize(loss + TAU * cp.normNuc(A) + energy), bounds)
    conic.solve(solver=cp.SCS, eps=1e-8)
    assert conic.value == pytest.approx(minimize(problem).objective, abs=1e-6)


@pytest.mark.parametrize("bias", [None, 0.0])
@pytest.mark.parametrize(("counts", "bar"), [(long_tail(10, 5000, 100), 0.05)])
def test_ten_counts_in_a_blink(counts, bias, bar) -> None:
    problem = Relaxation(counts, CrossEntropy(), (sum(counts) * 5e-9) ** 0.5, bias)
    minimize(problem)
    began = time.perf_counter()
    found = minimize(problem)
    # The bar holds for code without run-time type checks, which these tests add.
    assert time.perf_counter() - began < 4 * bar
    assert found.relative_gap <= 1e-8


def test_a_hundred_classes_of_85_counts() -> None:
    counts = long_tail(100, 500, 100)
    assert len(set(counts)) == 85
    found = minimize(Relaxation(counts, CrossEntropy(), (sum(counts) * 25e-8) ** 0.5, 0.0))
    assert found.converged and found.relative_gap <= 1e-8
    assert found.objective == pytest.approx(2.360849378, abs=1e-7)


@pytest.mark.slow
def test_a_thousand_classes_of_529_counts() -> None:
    counts = long_tail(1000, 1280, 256)
    assert len(set(counts)) == 529
    problem = Relaxation(counts, CrossEntropy(), (sum(counts) * 5e-9) ** 0.5, 0.0)
    found = minimize(problem, tolerance=1e-6)
    assert found.converged and found.relative_gap <= 1e-6


@pytest.mark.parametrize("bias_decay", [None, 0.0, 0.05])
def test_steps_in_single_precision_end_at_a_certified_optimum(monkeypatch, bias_decay) -> None:
    """What is used for many groups, on few: the same gap and value, merged classes and all."""
    counts, loss = (300, 300, 70, 40, 40, 12, 5, 4), CrossEntropy(scale=(1, 1, 2, 1, 1, 1, 3, 1))
    problem = Relaxation(counts, loss, 0.06, bias_decay)
    double = minimize(problem, tolerance=1e-12)
    monkeypatch.setattr(newton, "SMALL", 0)
    single = minimize(problem, tolerance=1e-12)
    assert single.converged and single.relative_gap <= 1e-12
    assert single.objective == pytest.approx(double.objective, rel=2e-12)
    assert single.iterations <= 2 * double.iterations
