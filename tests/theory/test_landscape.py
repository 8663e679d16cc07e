"""Saddles are critical, their escape has the predicted curvature, and descent leaves them."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from ncollapse.losses import CrossEntropy, Focal, Loss, MeanSquaredError, RescaledSquaredError
from ncollapse.theory.problems import UFM
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.solution import Solution
from ncollapse.theory.solvers.descent import descend
from ncollapse.theory.subjects.landscape import (
    escape_direction,
    landscape,
    perturbed_descent,
    saddle,
)

LOSSES = [CrossEntropy(), MeanSquaredError(), RescaledSquaredError(2.0, 1.5)]


def problem(loss: Loss, bias: str | float = "free", classes: int = 5, **settings) -> UFM:
    settings = {"weight_decay": 4e-3, "feature_decay": 4e-3, **settings}
    return UFM((4,) * classes, loss=loss, bias=bias, **settings)


@cache
def optimum(loss: Loss, bias: str | float) -> Solution:
    """Where descent ends, the same for saddles of every rank."""
    return descend(problem(loss, bias))


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("bias", ["none", "free", 0.3])
@pytest.mark.parametrize("loss", LOSSES, ids=["ce", "mse", "rescaled"])
def test_saddles_of_every_rank_are_critical_bent_and_left(
    loss: Loss, bias: str | float, rank: int
) -> None:
    ufm = problem(loss, bias)
    point = saddle(ufm, rank)
    found = landscape(point, ufm)
    assert found.kind == "strict saddle"
    assert found.gradient_norm <= 1e-8
    assert int(torch.linalg.matrix_rank(point.classifier, atol=1e-6)) == rank
    assert found.loss_gradient_norm > found.threshold
    assert found.curvature == pytest.approx(
        -2 * (found.loss_gradient_norm - found.threshold), abs=1e-12
    )
    assert found.measured_curvature == pytest.approx(found.curvature, abs=1e-6)
    best = optimum(loss, bias)
    assert best.status == "optimal"
    escaped = perturbed_descent(point, ufm)
    assert escaped.relative_gap <= 1e-8
    assert (escaped.objective - best.objective) / max(1.0, best.objective) <= 1e-8


def test_the_curvature_is_that_of_the_objective_along_the_direction() -> None:
    ufm = problem(CrossEntropy())
    point = saddle(ufm, 2)
    found = landscape(point, ufm)
    objective = Objective(ufm)
    flat, step = objective.pack(point), objective.pack(found.direction)
    size = 1e-3
    middle = objective.value(flat)
    second = (
        objective.value(flat + size * step) + objective.value(flat - size * step) - 2 * middle
    ) / size**2
    assert second == pytest.approx(found.curvature, abs=1e-6)


def test_unequal_decays_and_counts_are_covered() -> None:
    ufm = UFM((9, 5, 4, 2), weight_decay=8e-3, feature_decay=1e-3)
    found = landscape(saddle(ufm, 1, width=6), ufm)
    assert found.kind == "strict saddle"
    assert found.measured_curvature == pytest.approx(found.curvature, abs=1e-9)


@pytest.mark.parametrize("loss", [*LOSSES, Focal(2.0)], ids=["ce", "mse", "rescaled", "focal"])
def test_the_end_of_descent_is_the_global_optimum(loss: Loss) -> None:
    ufm = problem(loss, "none")
    found = landscape(descend(ufm, seed=1).extra["point"], ufm)
    assert found.kind == "global optimum"
    assert found.gap is not None and found.gap < 1e-8
    assert found.loss_gradient_norm == pytest.approx(found.threshold, rel=1e-6)


def test_a_random_point_is_not_critical() -> None:
    ufm = problem(CrossEntropy())
    objective = Objective(ufm)
    found = landscape(objective.unpack(objective.start()), ufm)
    assert found.kind == "not critical" and found.direction is None


def test_a_narrow_optimum_is_not_called_global() -> None:
    ufm = problem(CrossEntropy(), num_features=2)
    found = landscape(descend(ufm, seed=0).extra["point"], ufm)
    assert found.kind == "undecided" and "larger width" in found.statement
    with pytest.raises(ValueError, match=r"widened\(3\)"):
        escape_direction(descend(ufm, seed=0).extra["point"], ufm)


def test_a_narrow_saddle_is_found_by_its_hessian() -> None:
    # Width 1 at rank 0 has a free direction; width 2 with a critical point of rank 2 has none.
    ufm = problem(MeanSquaredError(), "none", classes=4)
    point = saddle(ufm, 2, width=4)
    narrow = UFM(ufm.counts, num_features=2, weight_decay=4e-3, feature_decay=4e-3, loss=ufm.loss, bias="none")  # fmt: skip
    cut = type(point)(point.weight[:, :2], point.features[:, :2])
    assert landscape(cut, narrow).kind in ("undecided", "strict saddle")
    assert landscape(point, ufm).kind == "strict saddle"


@pytest.mark.parametrize("classes", [6, 8])
def test_saddles_of_more_classes(classes: int) -> None:
    ufm = problem(CrossEntropy(), "none", classes, feature_decay=1e-3)
    best = descend(ufm).objective
    for rank in range(classes - 1):
        point = saddle(ufm, rank)
        found = landscape(point, ufm)
        assert found.gradient_norm <= 1e-8
        assert found.measured_curvature == pytest.approx(found.curvature, abs=1e-6)
        assert perturbed_descent(point, ufm).objective == pytest.approx(best, abs=1e-9)


def test_bad_input_is_named() -> None:
    ufm = problem(CrossEntropy())
    with pytest.raises(ValueError, match=r"K - 2 = 3"):
        saddle(ufm, 4)
    with pytest.raises(ValueError, match="rank=-1"):
        saddle(ufm, -1)
    with pytest.raises(ValueError, match="width 3"):
        saddle(ufm, 1, width=3)
    strong = 2 / (math.sqrt(4) * 5)
    with pytest.raises(ValueError, match="too strong"):
        saddle(problem(CrossEntropy(), weight_decay=strong, feature_decay=strong), 0)
    objective = Objective(problem(CrossEntropy(), nonnegative=True))
    point = objective.unpack(objective.start())
    with pytest.raises(ValueError, match="nonnegative"):
        landscape(point, problem(CrossEntropy(), nonnegative=True))
    with pytest.raises(ValueError, match="radius=0"):
        perturbed_descent(point, ufm, radius=0.0)
