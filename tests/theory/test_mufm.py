"""The multilayer model with optimal transport: stationarity, closed forms, what collapses and what
does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ncollapse.metrics.geodesic import geodesic
from ncollapse.metrics.interpolation import Split
from ncollapse.theory.problems.mufm import MUFM
from ncollapse.theory.solvers.mufm import MUFMSolution, last_layer, solve_mufm


def made(dim: int = 6, layers: int = 3, price: float = 0.05, decay: float = 5e-3) -> MUFM:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [12, 8, 15])
    features = rng.normal(size=(3, dim))[labels] + 0.5 * rng.normal(size=(35, dim))
    return MUFM(torch.from_numpy(features), torch.from_numpy(labels), decay, price, layers)


@pytest.fixture(scope="module")
def solution() -> MUFMSolution:
    return solve_mufm(made(), starts=3)


def test_the_gradient_of_the_full_objective_vanishes(solution) -> None:
    problem = solution.problem
    parts = [part.clone().requires_grad_() for part in (solution.weight, *solution.path[1:])]
    value = problem.objective(parts[0], parts[1:])
    slopes = torch.autograd.grad(value, parts)
    assert max(float(slope.abs().max()) for slope in slopes) <= 1e-8
    assert solution.gradient <= 1e-8
    assert solution.status == "stationary point, not certified"
    assert solution.objective == pytest.approx(float(value.detach()), rel=1e-12)
    assert solution.starts == pytest.approx([solution.objective] * 3, rel=1e-9)


def test_the_objective_is_that_written_plainly(rng) -> None:
    problem = made(layers=2)
    X, Y, N = problem.features, problem.targets, 35
    W = torch.from_numpy(rng.normal(size=(3, 6)))
    A, B = (torch.from_numpy(rng.normal(size=(35, 6))) for _ in range(2))
    plain = (
        ((W @ B.T - Y.T) ** 2).sum() / (2 * N)
        + 5e-3 / 2 * (W**2).sum()
        + 0.05 * 2 / (2 * N) * (((A - X) ** 2).sum() + ((B - A) ** 2).sum())
    )
    assert float(problem.objective(W, [A, B])) == pytest.approx(float(plain), rel=1e-12)


def test_small_moves_of_everything_cost(solution, rng) -> None:
    problem = solution.problem
    for _ in range(10):
        moved = [
            part + 1e-3 * torch.from_numpy(rng.normal(size=tuple(part.shape)))
            for part in (solution.weight, *solution.path[1:])
        ]
        assert float(problem.objective(moved[0], moved[1:])) > solution.objective


def test_the_last_layer_is_the_ridge_of_its_formula(solution) -> None:
    problem, W = solution.problem, solution.weight
    square = W.T @ W + problem.transport_decay * torch.eye(6, dtype=torch.float64)
    right = problem.targets @ W + problem.transport_decay * problem.features
    assert torch.allclose(solution.last, torch.linalg.solve(square, right.T).T, atol=1e-12)
    assert torch.equal(solution.last, last_layer(problem, W))


def test_within_class_residuals_shrink_by_the_factors_and_not_at_all_beside_them(solution) -> None:
    labels = solution.problem.labels
    before = Split.of(solution.path[0], labels).rest
    after = Split.of(solution.last, labels).rest
    along = solution.directions.T
    assert torch.allclose(after @ along, (before @ along) * solution.shrink, atol=1e-12)
    beside = torch.eye(6, dtype=torch.float64) - along @ along.T
    assert torch.allclose(after @ beside, before @ beside, atol=1e-12)
    assert float(solution.shrink.max()) < 1
    assert float((after**2).sum()) > 0.1 * float((before**2).sum())


def test_layers_lie_on_a_geodesic_and_every_reading_falls(solution) -> None:
    found = geodesic(solution.path, solution.problem.labels)
    assert found.times == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-12)
    assert max(found.residuals) < 1e-24
    # h_L - h_0 is W-linear in the labels, and the pairing is optimal here.
    assert found.straightness == pytest.approx(1, abs=1e-9)
    assert found.monotone["pfc1"] and found.monotone["ratio"]
    assert found.measured["pfc1"][-1] > 0


def test_the_number_of_layers_changes_nothing_at_the_end() -> None:
    one, many = (solve_mufm(made(layers=layers)) for layers in (1, 7))
    assert one.objective == pytest.approx(many.objective, rel=1e-12)
    assert torch.allclose(one.last, many.last, atol=1e-6)
    assert len(many.path) == 8


def test_a_dear_transport_leaves_the_data_where_they_are() -> None:
    problem = made(price=1e6)
    found = solve_mufm(problem)
    assert torch.allclose(found.last, problem.features, atol=1e-5)
    X, Y = problem.features, problem.targets
    ridge = torch.linalg.solve(X.T @ X + 35 * 5e-3 * torch.eye(6, dtype=torch.float64), X.T @ Y).T
    assert torch.allclose(found.weight, ridge, atol=1e-5)


def test_the_cheaper_the_transport_the_more_collapsed_the_end() -> None:
    ends = [solve_mufm(made(price=price)) for price in (1.0, 0.1, 0.01, 1e-3)]
    left = [Split.of(end.last, end.problem.labels).readings()["pfc1"] for end in ends]
    assert left == sorted(left, reverse=True)
    assert left[-1] > 0


def test_reference_values_on_centred_digits() -> None:
    inputs, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(labels == k), 40, replace=False) for k in range(10)]
    )
    features = torch.from_numpy(inputs[rows] / 16)
    found = solve_mufm(
        MUFM(features - features.mean(0), torch.from_numpy(labels[rows]), 5e-3, 0.05, 4)
    )
    before, after = (Split.of(h, found.problem.labels).readings() for h in found.path[::4])
    assert found.gradient <= 1e-8
    assert before["pfc1"] == pytest.approx(0.886, abs=6e-4)
    assert after["pfc1"] == pytest.approx(0.139, abs=6e-4)
    assert (before["ratio"], after["ratio"]) == pytest.approx((1.31, 0.83), abs=6e-3)
    assert (before["pfc2"], after["pfc2"]) == pytest.approx((0.66, 0.48), abs=6e-3)
    assert found.shrink[[0, 1, -1]].tolist() == pytest.approx(
        [0.04999, 0.06169, 0.14996], abs=1.1e-5
    )


def test_what_is_not_reached_is_said() -> None:
    assert solve_mufm(made(), tolerance=1e-17).status == "not converged"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": torch.zeros(5)}, "one whole number a sample"),
        ({"labels": torch.zeros(5)}, "one whole number a sample"),
        ({"features": torch.full((4, 2), torch.inf)}, "NaN or infinite"),
        ({"labels": torch.tensor([0, 0, 2, 2])}, r"classes \[0, 2\]"),
        ({"labels": torch.tensor([0, 0, 0, 0])}, "at least two"),
        ({"weight_decay": 0.0}, "both must be positive"),
        ({"transport_decay": -1.0}, "both must be positive"),
        ({"layers": 0}, "layers=0"),
    ],
)
def test_bad_problems(change, said: str) -> None:
    usual = {
        "features": torch.zeros(4, 2),
        "labels": torch.tensor([0, 1, 0, 1]),
        "weight_decay": 1e-3,
        "transport_decay": 1e-3,
    }
    with pytest.raises(ValueError, match=said):
        MUFM(**{**usual, **change})


def test_bad_calls() -> None:
    with pytest.raises(ValueError, match="starts=0"):
        solve_mufm(made(), starts=0)
    problem = made()
    with pytest.raises(ValueError, match="2 layers given; 3"):
        problem.objective(torch.zeros(3, 6), [problem.features] * 2)
