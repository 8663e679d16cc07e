"""Deep ReLU features: values, thresholds, readings, the best known solution, and `predict`."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.theory.deep import dnc_readings, dnc_threshold, dnc_value, k2_threshold, srg_value
from ncollapse.theory.predict import predict
from ncollapse.theory.prediction import json_schema
from ncollapse.theory.problems import DeepLinearUFM, DeepReluUFM
from ncollapse.theory.problems.deep_relu import ReluPoint
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers import deep_relu
from ncollapse.theory.solvers.deep_points import (
    dnc_point,
    edges,
    ranks,
    scaled,
    srg_point,
    value_at,
)
from ncollapse.theory.solvers.deep_relu import COLLAPSE, LOW_RANK, ZERO
from tests.theory.laws import derivatives_are_differences, packing_keeps


def equal(classes: int, depth: int, decay: float, count: int = 1, width: int | None = None):
    return DeepReluUFM((count,) * classes, (decay,) * depth, decay, num_features=width)


def plain_value(problem: DeepReluUFM, point) -> float:
    """f sample by sample, written out."""
    hidden = point.features.repeat_interleave(torch.tensor(problem.counts), 0)
    energy = problem.feature_decay * hidden.square().sum()
    for decay, weight in zip(problem.weight_decays, (*point.inner, point.weight), strict=True):
        energy = energy + decay * weight.square().sum()
    for weight in point.inner:
        hidden = (hidden @ weight.T).clamp_min(0)
    labels = torch.repeat_interleave(
        torch.arange(problem.num_classes), torch.tensor(problem.counts)
    )
    target = torch.eye(problem.num_classes, dtype=torch.float64)[labels]
    return float(
        (hidden @ point.weight.T - target).square().sum() / (2 * problem.num_samples) + energy / 2
    )


def test_its_objective_obeys_the_laws_and_is_the_formula() -> None:
    problem = DeepReluUFM((3, 2, 4), (0.1, 0.2, 0.3), 0.4)
    objective = Objective(problem, per_class=True)
    derivatives_are_differences(objective)
    packing_keeps(objective)
    point = objective.unpack(objective.start(4))
    assert value_at(problem, point) == pytest.approx(plain_value(problem, point), abs=1e-14)
    with pytest.raises(ValueError, match="no linear map"):
        _ = point.classifier


@pytest.mark.parametrize("counts", [(2, 2, 2), (9, 4, 1), (1,) * 10])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_values_are_those_of_the_points(counts, depth) -> None:
    decays = tuple(np.linspace(2e-3, 5e-3, depth))
    problem = DeepReluUFM(counts, decays, 3e-3)
    point = dnc_point(problem)
    assert dnc_value(problem) == pytest.approx(plain_value(problem, point), abs=1e-14)
    same = DeepLinearUFM(counts, decays, 3e-3)
    assert dnc_value(problem) == pytest.approx(solve(same).objective, abs=1e-15)
    low = srg_point(problem)
    assert srg_value(problem) == pytest.approx(plain_value(problem, low), abs=1e-14)


@pytest.mark.parametrize("counts", [(1,) * 6, (6, 3, 2)])
def test_deep_collapse_is_stationary(counts) -> None:
    problem = DeepReluUFM(counts, (2e-3, 4e-3, 3e-3), 5e-3)
    objective = Objective(problem, per_class=True)
    flat = objective.pack(dnc_point(problem))
    assert float(flat.abs().max()) > 0.1
    assert objective.stationarity(flat) < 1e-14


def test_the_construction_is_balanced_and_best_along_every_scale() -> None:
    """⟨∇f, W⟩ = 0 for every tensor W, and a step along any scale only raises f."""
    problem = DeepReluUFM((3,) * 10, (2e-3, 4e-3, 3e-3, 1e-3), 5e-3)
    point = srg_point(problem)
    objective = Objective(problem, per_class=True)
    flat = objective.pack(point)
    _, gradient = objective.value_and_gradient(flat)
    value = value_at(problem, point)
    at = 0
    for shape in objective.shapes:
        part = slice(at, at + math.prod(shape))
        at = part.stop
        assert abs(float(flat[part] @ gradient[part])) < 1e-14
        for factor in (0.99, 1.01):
            moved = flat.clone()
            moved[part] *= factor
            assert objective.value(moved) > value
    energies = [
        decay * float(part.square().sum())
        for decay, part in zip(problem.weight_decays, (*point.inner, point.weight), strict=True)
    ]
    energies.append(problem.feature_decay * 3 * float(point.features.square().sum()))
    assert np.ptp(energies) < 1e-12
    doubled = replace(point, weight=2 * point.weight, features=0.3 * point.features)
    assert value_at(problem, scaled(problem, doubled)) == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize("classes", [3, 5, 6, 7, 10, 15])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_construction_decides_like_the_identity_at_low_rank(classes, depth) -> None:
    problem = equal(classes, depth, 1e-4)
    point = srg_point(problem)
    logits = point.logits / point.logits.diagonal().mean()
    torch.testing.assert_close(logits, torch.eye(classes).double(), rtol=0, atol=1e-12)
    pairs = edges(classes)
    vertices = max(max(pair) for pair in pairs) + 1
    assert len(set(pairs)) == classes and vertices * (vertices - 1) // 2 >= classes
    found = ranks(point)
    assert all(max(pair) <= vertices for pair in found[:-1])
    assert found[-1][0] <= vertices and found[-1][1] == classes


def test_values_of_the_notes() -> None:
    # K = 10, λ = .004: deep collapse and the construction after a descent, of depth 4.
    problem = equal(10, 4, 0.004)
    assert dnc_value(problem) == pytest.approx(0.0992, abs=5e-5)
    assert dnc_value(equal(10, 3, 0.008)) == pytest.approx(0.15666, abs=5e-6)
    found = solve(problem, solver="descent", starts=0, steps=100)
    assert found.objective == pytest.approx(0.0876, abs=5e-4)
    assert [before for before, _ in found.extra["ranks"]] == [5, 5, 5]
    assert found.extra["candidates"][LOW_RANK] == srg_value(problem)


@pytest.mark.parametrize("depth", [2, 3, 4, 7])
@pytest.mark.parametrize("classes", [2, 5])
def test_deep_collapse_beats_zero_below_its_threshold_only(classes, depth) -> None:
    level, count = dnc_threshold(classes, depth), 3
    for factor, better in ((0.98, True), (1.02, False)):
        decay = (factor * level / count) ** (1 / (depth + 1))
        problem = equal(classes, depth, decay, count)
        assert (dnc_value(problem) < 0.5 - 1e-6) is better
        assert (float(dnc_point(problem).weight.abs().max()) > 0) is better
    assert k2_threshold(depth) == dnc_threshold(2, depth)
    assert dnc_threshold(classes, 1) == pytest.approx(classes**-2)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_descent_agrees_with_the_threshold_of_two_classes(factor) -> None:
    decay = (factor * k2_threshold(2)) ** (1 / 3)
    problem = equal(2, 2, decay)
    best = solve(problem, solver="descent", starts=2, steps=60, width=3)
    formula = solve(problem)
    assert formula.solver == "closed form" and formula.status == "not certified"
    assert best.objective == pytest.approx(formula.objective, abs=1e-6)
    assert formula.extra["won"] == (COLLAPSE if factor < 1 else ZERO)
    assert min(best.extra["candidates"].values()) >= formula.objective - 1e-9


def test_rotations_of_features_and_orders_of_units_change_nothing() -> None:
    problem = DeepReluUFM((2, 3, 1, 2), (0.02, 0.01, 0.03), 0.01)
    objective = Objective(problem, 6, per_class=True)
    point = objective.unpack(objective.start(1))
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    order = torch.randperm(6, generator=generator)
    first, second = point.inner
    moved = replace(
        point, features=point.features @ turn.T, inner=((first @ turn.T)[order], second[:, order])
    )
    assert value_at(problem, moved) == pytest.approx(value_at(problem, point), abs=1e-14)
    torch.testing.assert_close(moved.logits, point.logits)
    one = dnc_readings((*point.inner, point.weight), point.features)
    two = dnc_readings((*moved.inner, moved.weight), moved.features)
    for a, b in zip(one, two, strict=True):
        assert (a.dnc2, a.dnc3, a.rank) == (pytest.approx(b.dnc2), pytest.approx(b.dnc3), b.rank)


# ---- readings ---------------------------------------------------------------------------------
def test_readings_of_deep_collapse_are_ideal_and_of_low_rank_are_not() -> None:
    problem = equal(10, 4, 0.004)
    point = dnc_point(problem)
    weights = (*point.inner, point.weight)
    found = dnc_readings(weights, point.features)
    assert [(row.layer, row.side) for row in found] == [
        (layer, side) for layer in (1, 2, 3) for side in ("before", "after")
    ]
    assert all(row.dnc2 < 1e-12 and row.rank == 10 for row in found)
    assert all(row.dnc3 < 1e-12 for row in found if row.side == "after")
    low = srg_point(problem)
    rows = dnc_readings((*low.inner, low.weight), low.features)
    assert [row.rank for row in rows] == [5, 5, 5, 5, 5, 10]
    assert all(row.dnc1 == 0 for row in rows)
    assert all(row.dnc2 > 0.1 for row in rows[:-1]) and rows[-1].dnc2 < 1e-12


def test_spread_samples_have_a_first_reading() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(6, 4, generator=generator)
    weights = [torch.randn(5, 4, generator=generator), torch.randn(2, 5, generator=generator)]
    before, after = dnc_readings(weights, features, (4, 2))
    hidden = (features @ weights[0].T).double()
    for row, rows in ((before, hidden), (after, hidden.relu())):
        means = torch.stack([rows[:4].mean(0), rows[4:].mean(0)])
        within = ((rows[:4] - means[0]) ** 2).sum() + ((rows[4:] - means[1]) ** 2).sum()
        between = (torch.tensor([[4.0], [2.0]]) * (means - rows.mean(0)) ** 2).sum()
        assert row.dnc1 == pytest.approx(float(within / between), rel=1e-5)
        assert row.dnc2 < 1e-6  # two classes are a simplex
    zeros = dnc_readings([torch.zeros(3, 4), torch.zeros(2, 3)], features, (4, 2))
    assert [(row.dnc1, row.dnc2, row.dnc3, row.rank) for row in zeros] == [(None,) * 3 + (0,)] * 2


@pytest.mark.parametrize(
    ("weights", "features", "counts", "said"),
    [
        ([(2, 3)], (2, 3), None, "1 matrix was passed"),
        ([(4, 2), (2, 4)], (2, 3), None, "W_1 has shape (4, 2) and 3 numbers enter it"),
        ([(4, 3), (2, 5)], (2, 3), None, "W_2 has shape (2, 5) and 4 numbers enter it"),
        ([(4, 3), (2, 4)], (5, 3), (2, 2), "counts=[2, 2] for 5 rows"),
    ],
)
def test_readings_refuse_what_does_not_fit(weights, features, counts, said) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        dnc_readings([torch.ones(shape) for shape in weights], torch.ones(features), counts)


def test_readings_and_thresholds_refuse_bad_numbers() -> None:
    with pytest.raises(ValueError, match="NaN"):
        dnc_readings([torch.ones(3, 2), torch.full((2, 3), math.nan)], torch.ones(2, 2))
    with pytest.raises(ValueError, match="at least 2 classes"):
        dnc_threshold(1, 3)
    with pytest.raises(ValueError, match="at least 2 matrices"):
        DeepReluUFM((3, 2), weight_decays=(0.1,))


# ---- predict ----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def low():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep_relu, "STEPS", 25)
        return predict([1] * 10, model="deep-relu", depth=4, weight_decay=4e-3, feature_decay=4e-3)


def test_predict_says_when_a_lower_rank_is_better(low) -> None:
    assert low.solution.status == "not certified" and low.lower_bound is None
    assert low.objective < dnc_value(low.problem) - 5e-3
    point = low.solution.extra["point"]
    assert isinstance(point, ReluPoint)
    assert low.objective == pytest.approx(plain_value(low.problem, point), abs=1e-12)
    assert (
        sum("a solution of lower rank than the simplex is better" in w for w in low.warnings) == 1
    )
    document = json.loads(low.to_json())
    jsonschema.validate(document, json_schema())
    assert "lower rank than the simplex is better" in str(low).replace("\n  ", " ")
    assert len(str(low).splitlines()) <= 24
    assert any("Under cross-entropy" in a.text for a in low.assumptions)


def test_predict_says_when_collapse_or_zero_is_the_best() -> None:
    collapse = predict([4, 4], model="deep-relu", depth=3, weight_decay=1e-2, feature_decay=1e-2)
    assert collapse.solution.extra["won"] == COLLAPSE
    assert not any("lower rank" in warning for warning in collapse.warnings)
    zero = solve(equal(3, 3, 0.9), starts=1, steps=20)
    assert zero.objective == 0.5 and zero.rank == 0
    assert any("nothing better than zero" in note for note in zero.extra["notes"])
    assert solve(equal(4, 2, 0.01, width=2), starts=1, steps=20).rank <= 2
    with pytest.raises(ValueError, match="no closed form is known"):
        solve(equal(3, 2, 0.01), solver="closed form")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"depth": 1}, "depth=1; at least 2 weight matrices are needed"),
        ({"loss": "ls", "smoothing": 0.1}, "Under cross-entropy deep collapse cannot be a global"),
        ({"bias": "none"}, "it takes weight_decay, feature_decay, depth"),
        ({"weight_decay": -1.0}, "positive decays are needed"),
    ],
)
def test_bad_input_is_one_sentence(settings, said) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        predict([5, 5], model="deep-relu", **settings)


@pytest.mark.parametrize(
    ("model", "classes", "depth", "lost"),
    [
        ("deep-linear", 4, 3, True), ("deep-linear", 6, 2, True), ("deep-linear", 5, 2, False),
        ("deep-linear", 3, 5, False), ("deep-linear", 9, 1, False), ("deep-relu", 10, 5, True),
        ("deep-relu", 16, 4, True), ("deep-relu", 15, 4, False), ("deep-relu", 16, 3, False),
    ],
)  # fmt: skip
def test_what_cross_entropy_would_change_is_said(model, classes, depth, lost) -> None:
    kind = {"deep-linear": DeepLinearUFM, "deep-relu": DeepReluUFM}[model]
    problem = kind((2,) * classes, (1e-2,) * depth, 1e-2)
    said = problem.notes(SimpleNamespace(status="", rank=1, required_width=1))
    assert bool(said) is lost and problem.lost_under_cross_entropy is lost
    assert "Garrod & Keating 2025" in problem.premises()[-1].text
    assert not replace(problem, num_features=classes - 1).lost_under_cross_entropy


def test_public_names() -> None:
    assert nc.theory.dnc_value is dnc_value and nc.theory.k2_threshold is k2_threshold
    assert nc.theory.DeepReluUFM is DeepReluUFM
