"""Digits of given counts, cosines, and points of free features."""

from __future__ import annotations

import math

import pytest
import torch

from ncollapse.lab.cosines import block_means, closeness, cosines
from ncollapse.lab.critical import energy, step_from
from ncollapse.lab.data import digits, geometric_counts, long_tailed
from ncollapse.lab.models import mlp
from ncollapse.lab.statistics import jackknife
from ncollapse.theory.problems import ULPM
from ncollapse.theory.solvers.flow import kkt, kkt_point


def test_long_tailed_digits_have_the_counts_asked_for() -> None:
    counts = geometric_counts(100, 10, 10)
    assert counts[0] == 100 and counts[-1] == 10
    assert sorted(counts, reverse=True) == list(counts)
    data = digits()
    some = long_tailed(data, counts, seed=1)
    assert torch.bincount(some.train_y).tolist() == list(counts)
    assert torch.equal(some.test_x, data.test_x)
    assert torch.equal(some.train_x, long_tailed(data, counts, seed=1).train_x)
    assert not torch.equal(some.train_x, long_tailed(data, counts, seed=2).train_x)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: long_tailed(digits(), [1, 2]), "2 counts for 10 classes"),
        (lambda: long_tailed(digits(), [500] + [1] * 9), "500 samples of class 0 wanted"),
        (lambda: long_tailed(digits(), [0] + [1] * 9), "0 samples of class 0 wanted"),
        (lambda: geometric_counts(1, 2, 3), "largest=1, smallest=2"),
    ],
)
def test_counts_that_cannot_be_are_explained(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_networks_may_end_without_a_relu() -> None:
    names_ = [name for name, _ in mlp(4, (8, 8), 3, last_relu=False).named_children()]
    assert names_[-2:] == ["norm1", "head"]
    assert "relu0" in names_ and "relu1" not in names_


def test_block_means_and_closeness() -> None:
    square = torch.tensor([[9, 1, 2, 2], [1, 9, 2, 2], [2, 2, 9, 5], [2, 2, 5, 9]]).double()
    assert block_means(square, 2) == (1.0, 2.0, 5.0)
    rows = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(cosines(3 * rows), rows)
    gap, ratio = closeness(rows, rows - 0.25)
    assert gap == pytest.approx(1 / 3)
    assert ratio == pytest.approx(1.0)


def test_the_jackknife_of_a_spread_is_exact_without_noise() -> None:
    assert jackknife([[3.0, 1.0]] * 4) == pytest.approx([2.0] * 4)
    assert jackknife([[3.0, 1.0]]) == [2.0]


def test_steps_out_of_a_kkt_point_agree_with_their_formula() -> None:
    problem = ULPM((2,) * 6)
    point = kkt_point("polygon", problem, width=12)
    found = kkt(point, problem)
    assert found.direction is not None and found.rate is not None
    step = 0.01 / float(point.weight.abs().max())
    moved = energy(step_from(point, found.direction, step), problem) / found.energy - 1
    assert moved == pytest.approx(found.rate * 1e-4, rel=0.01)
    assert energy(kkt_point("simplex", problem), problem) == pytest.approx(5 * math.sqrt(2))
