"""Regression with unconstrained features: the closed form against descent, and its document."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.theory.problems.nrc import RegressionUFM, as_rows
from ncollapse.theory.solve import solve
from ncollapse.theory.targets import TargetPrediction


def case(seed: int = 0, samples: int = 60, n: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return torch.randn(samples, n, generator=generator, dtype=torch.float64) @ mixed + 2.0


def predicted(Y: torch.Tensor, decays: tuple[float, float], width: int | None = 6):
    S = torch.cov(Y.T, correction=0).reshape(Y.shape[1], Y.shape[1])
    return nc.predict(
        task="regression",
        target_covariance=S,
        feature_decay=decays[0],
        weight_decay=decays[1],
        num_features=width,
    )


def loss(W, H, b, Y, decays) -> torch.Tensor:
    M = len(Y)
    residual = ((H @ W.T + b - Y) ** 2).sum() / (2 * M)
    return residual + decays[0] / (2 * M) * (H**2).sum() + decays[1] / 2 * (W**2).sum()


# c below, among and above the eigenvalues of the targets' covariance.
DECAYS = [(0.1, 0.1), (0.02, 0.2), (1.0, 0.05), (0.5, 1.0), (3.0, 0.5)]


@pytest.mark.parametrize("decays", DECAYS, ids=str)
@pytest.mark.parametrize("width", [6, 3, 2, 1])
def test_it_is_stationary_and_has_the_value_it_says(decays, width: int) -> None:
    Y = case()
    p = predicted(Y, decays, width)
    W, H, b = p.weight.clone(), p.features(Y), Y.mean(0).clone()
    parts = [x.requires_grad_() for x in (W, H, b)]
    value = loss(*parts, Y, decays)
    assert float(value.detach()) == pytest.approx(p.objective, rel=1e-10)
    for slope in torch.autograd.grad(value, parts):
        assert float(slope.abs().max()) < 1e-10
    error = (H @ W.T + b - Y).detach()
    torch.testing.assert_close(torch.cov(error.T, correction=0), p.error_covariance)
    covariance = torch.cov(H.detach().T, correction=0).reshape(width, width)
    spectrum = torch.linalg.eigvalsh(covariance).flip(0)[: min(width, 3)]
    torch.testing.assert_close(spectrum, p.feature_spectrum[: len(spectrum)])
    torch.testing.assert_close((W @ W.T).detach(), p.gram)


@pytest.mark.parametrize(("decays", "width"), [((0.1, 0.1), 6), ((0.5, 1.0), 4), ((0.1, 0.1), 1)])
def test_descent_from_a_random_start_ends_there(decays, width: int) -> None:
    Y = case(1, 40)
    p = predicted(Y, decays, width)
    generator = torch.Generator().manual_seed(2)
    W, H = (
        (0.3 * torch.randn(*shape, generator=generator, dtype=torch.float64)).requires_grad_()
        for shape in ((3, width), (40, width))
    )
    b = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS(
        [W, H, b], max_iter=800, tolerance_grad=1e-10, tolerance_change=1e-16, history_size=30,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> torch.Tensor:
        descent.zero_grad()
        value = loss(W, H, b, Y, decays)
        value.backward()
        return value

    descent.step(closure)
    assert float(loss(W, H, b, Y, decays).detach()) == pytest.approx(p.objective, rel=1e-6)
    torch.testing.assert_close((W @ W.T).detach(), p.gram, rtol=1e-2, atol=1e-3)


def test_no_point_lies_below_the_value() -> None:
    Y, decays = case(3, 30), (0.2, 0.1)
    p = predicted(Y, decays, 4)
    generator = torch.Generator().manual_seed(4)
    at = [p.weight, p.features(Y), Y.mean(0)]
    for size in (1e-3, 1e-1, 1.0):
        for _ in range(20):
            moved = [x + size * torch.randn(x.shape, generator=generator).double() for x in at]
            assert float(loss(*moved, Y, decays)) >= p.objective


def test_the_rank_is_the_number_of_eigenvalues_above_the_level() -> None:
    S = np.diag([4.0, 1.0, 0.25])
    for level, rank in ((0.1, 3), (0.25, 2), (0.9, 2), (1.1, 1), (4.0, 0), (9.0, 0)):
        p = nc.predict(
            task="regression", target_covariance=S, weight_decay=level, feature_decay=1.0
        )
        assert p.rank == rank
        wanted = torch.tensor([min(value, level) for value in (4.0, 1.0, 0.25)])
        torch.testing.assert_close(p.errors, wanted.double())
        assert p.zero_level == pytest.approx(4.0)
        assert bool(p.warnings) == (rank < 3)


def test_one_target_has_the_formula_of_one_number() -> None:
    p = nc.predict(task="regression", target_covariance=4.0, weight_decay=0.2, feature_decay=0.1)
    assert float(p.gram) == pytest.approx(0.1 * (2.0 / 0.02**0.5 - 1))
    assert p.errors.tolist() == pytest.approx([0.02])


def test_it_is_a_value_and_a_prediction() -> None:
    problem = RegressionUFM(((2.0, 0.5), (0.5, 1.0)), 0.1, 0.1)
    again = pickle.loads(pickle.dumps(problem))
    assert again == problem and hash(again) == hash(problem)
    p = nc.theory.predict_problem(problem)
    assert isinstance(p, TargetPrediction) and isinstance(p, nc.Prediction)
    document = json.loads(p.to_json())
    assert document["problem"]["model"] == "RegressionUFM"
    assert document["gap"] == 0 and document["certificate"]["kind"] == "closed form"
    assert str(p).startswith("regression with unconstrained features")
    with pytest.raises(ValueError, match="no margins"):
        p.logit_margins  # noqa: B018
    for solver in ("convex", "descent", "burer-monteiro"):
        with pytest.raises(ValueError, match=solver):
            solve(problem, solver=solver)


BAD = {
    "no square": ([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], "square matrix"),
    "not symmetric": ([[1.0, 0.5], [0.1, 1.0]], "not symmetric"),
    "negative": ([[1.0, 2.0], [2.0, 1.0]], "eigenvalues from -1"),
    "zero": ([[0.0, 0.0], [0.0, 0.0]], "eigenvalues from 0"),
    "NaN": ([[1.0, float("nan")], [float("nan"), 1.0]], "NaN or infinity"),
    "text": ([["a"]], "no matrix of numbers"),
    "nothing": (None, "no target_covariance was passed"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_covariance_is_refused(name: str) -> None:
    given, said = BAD[name]
    with pytest.raises(ValueError, match=said):
        nc.predict(task="regression", target_covariance=given)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weight_decay": 0.0}, "weight_decay=0.0; a positive number"),
        ({"feature_decay": -1.0}, "feature_decay=-1.0"),
        ({"num_features": 0}, "num_features=0"),
        ({"depth": 2}, "depth means nothing to task 'regression'"),
        ({"counts": [3, 4]}, "counts means nothing to task 'regression'"),
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(settings, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        nc.predict(task="regression", target_covariance=[[1.0]], **settings)


def test_tasks_are_told_apart() -> None:
    with pytest.raises(ValueError, match="task='ranking' has no theory"):
        nc.predict(task="ranking")
    with pytest.raises(ValueError, match="no counts were passed"):
        nc.predict()
    with pytest.raises(ValueError, match="target_covariance means nothing to task"):
        nc.predict([3, 4], target_covariance=[[1.0]])


def test_tiny_asymmetries_are_taken() -> None:
    S = np.cov(np.random.default_rng(5).normal(size=(50, 3)).T.astype(np.float32))
    assert np.allclose(as_rows(S), S)
