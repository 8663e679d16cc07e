"""The census of critical points: what it finds is critical, and is what it is called."""

from __future__ import annotations

import math

import pytest
import torch

from ncollapse.lab.census import (
    GLOBAL,
    LOST,
    OTHER,
    SADDLE,
    census,
    classify,
    survey,
    tally,
    verdicts,
)
from ncollapse.losses import CrossEntropy, Focal
from ncollapse.theory.problems import UFM
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.solvers.descent import descend
from ncollapse.theory.subjects.census import (
    CRITICAL,
    DESCENDS,
    derivatives,
    settle,
    starts,
    values,
)

SCALES = (0.1, 1.0)


def problem(**changes: object) -> UFM:
    base = {"weight_decay": 0.02, "feature_decay": 0.01, "bias": "none", "num_features": 4}
    return UFM((2, 1, 1), **{**base, **changes})


@pytest.mark.parametrize("loss", [CrossEntropy(), Focal(2.0)])
@pytest.mark.parametrize("bias", ["none", "free"])
def test_critical_points_are_global_or_strict_saddles(loss, bias: str) -> None:
    known = problem(loss=loss, bias=bias)
    rows = census(known, 12, SCALES, seed=0)
    best = descend(known).objective
    found = tally(rows)
    assert found[OTHER] == 0 and found[GLOBAL] and found[SADDLE]
    assert found[GLOBAL] + found[SADDLE] + found[LOST] == len(rows) == 12
    for row in rows:
        if row.kind == GLOBAL:
            assert row.objective == pytest.approx(best, abs=1e-9)
        if row.kind == SADDLE:
            assert row.gradient <= CRITICAL and row.objective > best + 1e-6
            assert row.curvature == pytest.approx(row.formula, abs=1e-9) and row.curvature < 0
        else:
            assert row.curvature is None


@pytest.mark.parametrize("bias", ["none", "free"])
def test_derivatives_of_many_points_are_those_of_the_objective(bias: str) -> None:
    objective = Objective(problem(loss=Focal(2.0), bias=bias))
    flats = starts(objective, 3, (1.0,), seed=4)
    first, second = derivatives(objective, flats)
    for number, flat in enumerate(flats):
        value, gradient = objective.value_and_gradient(flat)
        assert float(values(objective, flats)[number]) == pytest.approx(value, abs=1e-14)
        torch.testing.assert_close(first[number], gradient, rtol=0, atol=1e-14)
        product = objective.hessian_product(flat, flats[0])
        torch.testing.assert_close(second[number] @ flats[0], product, rtol=0, atol=1e-13)


def test_starts_have_every_rank_and_columns_beyond_it_stay_empty() -> None:
    objective = Objective(problem(loss=CrossEntropy()))
    flats = starts(objective, 8, SCALES, seed=1)
    ended = settle(objective, flats, 20)
    for number, flat in enumerate(flats):
        rank = 1 + number % 4 if number % DESCENDS else 4
        weight = objective.unpack(flat).weight
        assert int(torch.linalg.matrix_rank(weight)) == min(rank, 3)
        assert float(objective.unpack(ended[number]).weight[:, rank:].norm()) < 1e-12
    small, large = (flats[4 * i : 4 * i + 4].norm() for i in (0, 1))
    assert 5 < large / small < 20


def test_the_norm_of_the_gradient_never_rises() -> None:
    objective = Objective(problem(loss=CrossEntropy()))
    flats = starts(objective, 6, SCALES, seed=2)

    def sizes(points: torch.Tensor) -> torch.Tensor:
        return torch.stack([objective.value_and_gradient(flat)[1].norm() for flat in points])

    before = sizes(flats)
    for steps in (1, 3, 30):
        after = sizes(settle(objective, flats, steps))
        assert (after <= before + 1e-15).all()
        before = after


def test_a_point_elsewhere_is_not_counted() -> None:
    known = problem(loss=CrossEntropy())
    objective = Objective(known)
    assert classify(known, objective, objective.start(0, 1.0)).kind == LOST
    assert classify(known, objective, torch.zeros(objective.size).double()).rank == 0


def test_verdicts_of_a_survey_count_what_is_neither_and_what_is_missing() -> None:
    plan = {
        "counts": [[1, 1, 1]],
        "losses": ["ce"],
        "scales": SCALES,
        "starts": 8,
        "weight_decay": 0.02,
        "feature_decay": 0.02,
    }
    rows, tallies = survey(plan, seed=0)
    assert [row["bias"] for row in tallies] == ["none", "free"]
    assert len(rows) == sum(row[kind] for row in tallies for kind in (GLOBAL, SADDLE, OTHER))
    found = verdicts(rows, tallies)
    assert (found["other"], found["reach"]) == (0, 1.0)
    assert found["curvature"] < 1e-9 and found["strict"] < 0
    tallies[0] |= {OTHER: 2, "ranks": [1]}
    found = verdicts(rows, tallies)
    assert (found["other"], found["reach"]) == (2, 0.5)
    assert math.isnan(verdicts([], tallies)["strict"])
