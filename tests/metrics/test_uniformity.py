"""Kernels of pair distances: by blocks as by hand, at a simplex, of close rows, drawn."""

from __future__ import annotations

import math

import pytest
import torch

from ncollapse.geometry import Geometry
from ncollapse.metrics.uniformity import log_kernel, of_pairs, rbf, riesz
from ncollapse.pairs.rows import Rows

KERNELS = {"log": log_kernel, "rbf": rbf, "riesz": lambda square: riesz(square, 3.0)}
BY_HAND = {"log": lambda r: -r.log(), "rbf": lambda r: (-2 * r**2).exp(), "riesz": lambda r: r**-3}


def rows(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def unit(matrix: torch.Tensor) -> torch.Tensor:
    return matrix / matrix.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("count", [7, 1100])
def test_blocks_as_by_hand(count: int) -> None:
    matrix = rows(count, 6)
    found = of_pairs(Rows(matrix, matrix.mean(0)), KERNELS)
    directions = unit(matrix - matrix.mean(0))
    apart = torch.pdist(directions)
    for name, by_hand in BY_HAND.items():
        values = by_hand(apart)
        assert float(found[name].mean) == pytest.approx(float(values.mean()), rel=1e-9)
        assert float(found[name].std) == pytest.approx(float(values.std(correction=0)), rel=1e-7)
        assert found[name].pairs == count * (count - 1) // 2
    cosines = (directions @ directions.T).fill_diagonal_(-2)
    assert torch.allclose(found.largest, cosines.max(1).values, atol=1e-12)


def test_a_simplex_has_no_spread_and_the_least_mean() -> None:
    means = Geometry.simplex_etf(9, 12).means
    found = of_pairs(Rows(means), KERNELS)
    assert float(found["log"].mean) == pytest.approx(-0.5 * math.log(2 * 9 / 8), rel=1e-12)
    assert float(found["log"].variation) < 1e-14
    other = of_pairs(Rows(rows(9, 12)), KERNELS)
    for name in KERNELS:
        assert float(other[name].mean) > float(found[name].mean)


def test_close_rows_in_single_precision() -> None:
    """From 4,096 rows on products are float32; two rows 1e-6 apart are told from one."""
    matrix = rows(4100, 5)
    matrix[1] = 3 * matrix[0] + 3e-6 * matrix[2]
    found = of_pairs(Rows(matrix), {"log": log_kernel})
    apart = torch.pdist(unit(matrix))
    assert float(found["log"].mean) == pytest.approx(float(-apart.log().mean()), rel=1e-6)
    assert float(1 - found.largest[0]) == pytest.approx(float(apart[0] ** 2 / 2), rel=1e-3)


def test_drawn_pairs_know_their_error() -> None:
    matrix = rows(400, 8)
    whole = of_pairs(Rows(matrix), {"log": log_kernel})["log"]
    drawn = of_pairs(Rows(matrix), {"log": log_kernel}, number=40_000, seed=1)
    assert drawn.largest is None and drawn["log"].pairs == 40_000
    gap = abs(float(drawn["log"].mean - whole.mean))
    assert 0 < gap < 4 * drawn["log"].error
    again = of_pairs(Rows(matrix), {"log": log_kernel}, number=40_000, seed=1)
    assert float(again["log"].mean) == float(drawn["log"].mean)


def test_zero_rows_are_left_out_and_gradients_flow() -> None:
    matrix = torch.cat([rows(6, 4), torch.zeros(1, 4, dtype=torch.float64)]).requires_grad_()
    found = of_pairs(Rows(matrix), KERNELS)
    assert found.kept.tolist() == [True] * 6 + [False] and found["rbf"].pairs == 15
    found["log"].mean.backward()
    assert bool(matrix.grad.isfinite().all()) and float(matrix.grad.abs().max()) > 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: of_pairs(Rows(torch.zeros(3, 2)), KERNELS), "0 of 3 rows have a direction"),
        (lambda: of_pairs(Rows(rows(3, 2)), KERNELS, number=1), "number=1"),
        (lambda: rbf(torch.ones(2), 0.0), "t=0.0"),
        (lambda: riesz(torch.ones(2), 0.0), "s=0.0"),
    ],
)
def test_bad_input(wrong, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        wrong()
