"""Softmax codes: known margins, bounds, and features that attain them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from ncollapse.geometry import Geometry
from ncollapse.theory.solvers.codes import margin_bound, softmax_code, welch_bound

KNOWN = [
    (5, 2, 1 - math.cos(2 * math.pi / 5)),
    (8, 2, 1 - math.cos(2 * math.pi / 8)),
    (4, 3, 4 / 3),
    (5, 3, 1.0),
    (6, 3, 1.0),
    (8, 4, 1.0),
    (2, 1, 2.0),
]


@pytest.mark.parametrize(("K", "d", "margin"), KNOWN)
@pytest.mark.parametrize("closed_form", [True, False])
def test_known_codes_are_found_with_and_without_their_formula(
    K: int, d: int, margin: float, closed_form: bool
) -> None:
    code = softmax_code(K, d, closed_form=closed_form)
    assert code.margin == pytest.approx(margin, abs=1e-7)
    assert code.bound == pytest.approx(margin, abs=1e-12)
    assert code.proven and code.statement.startswith("optimal")
    assert (code.restarts == 0) == closed_form


def test_twelve_points_in_space_are_the_icosahedron() -> None:
    code = softmax_code(12, 3)
    assert code.max_cosine == pytest.approx(5**-0.5, abs=1e-8)
    assert code.margin == pytest.approx(1 - 5**-0.5, abs=1e-8)
    assert not code.proven and "not proven" in code.statement
    torch.testing.assert_close(code.geometry.weight, code.geometry.means, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("K", "d"), [(5, 2), (7, 3), (6, 3), (10, 4)])
def test_means_attain_the_margins_and_rows_have_unit_norm(K: int, d: int) -> None:
    code = softmax_code(K, d, seed=1)
    weight, means = code.geometry.weight, code.geometry.means
    for rows in (weight, means):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(K).double())
    inner = means @ weight.T
    gaps = inner.diagonal()[:, None] - inner
    gaps.fill_diagonal_(torch.inf)
    torch.testing.assert_close(
        gaps.min(1).values, code.geometry.one_vs_rest_margin("weight"), rtol=0, atol=1e-8
    )
    assert code.margin <= code.bound + 1e-9
    assert code.welch <= float((weight @ weight.T - torch.eye(K)).abs().max()) + 1e-9


def test_the_margin_is_a_distance_to_a_hull() -> None:
    rows = softmax_code(7, 3).geometry.weight.numpy()
    others = np.delete(rows, 2, axis=0)

    def square(share: np.ndarray) -> float:
        return float(((share @ others - rows[2]) ** 2).sum())

    one = {"type": "eq", "fun": lambda share: share.sum() - 1}
    done = minimize(
        square, np.full(6, 1 / 6), method="SLSQP", bounds=[(0, 1)] * 6, constraints=[one],
        options={"ftol": 1e-14},
    )  # fmt: skip
    found = Geometry(weight=torch.from_numpy(rows)).one_vs_rest_margin("weight")[2]
    assert math.sqrt(done.fun) == pytest.approx(float(found), abs=1e-6)
    # Seven points: 1 - cos 77.87°, the largest smallest angle of seven points on a sphere.
    assert softmax_code(7, 3).margin == pytest.approx(0.7898617, abs=1e-6)


def test_random_codes_are_never_better() -> None:
    code = softmax_code(7, 3)
    generator = np.random.default_rng(0)
    for _ in range(50):
        rows = torch.from_numpy(generator.standard_normal((7, 3)))
        assert float(Geometry(weight=rows).one_vs_rest_margin("weight").min()) < code.margin


def test_the_same_seed_gives_the_same_code() -> None:
    one, two = softmax_code(9, 3, seed=3, restarts=2), softmax_code(9, 3, seed=3, restarts=2)
    assert torch.equal(one.geometry.weight, two.geometry.weight)


def test_bounds_have_their_textbook_values() -> None:
    assert welch_bound(4, 3) == pytest.approx(1 / 3)
    assert welch_bound(3, 3) == 0
    assert margin_bound(100, 10)[0] == 1
    assert margin_bound(3, 2)[0] == 1.5


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="2 dimensions are needed"):
        softmax_code(3, 1)
    with pytest.raises(ValueError, match="num_classes=1"):
        softmax_code(1, 3)
    with pytest.raises(ValueError, match="restarts=0"):
        softmax_code(7, 3, restarts=0)
    with pytest.raises(ValueError, match="num_features=0"):
        welch_bound(3, 0)
