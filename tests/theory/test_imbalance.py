"""Thresholds are exact: a thousandth below a group stands apart, a thousandth above it is one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError, RescaledSquaredError, named
from ncollapse.theory.predict import predict
from ncollapse.theory.problems import LPM, UFM
from ncollapse.theory.problems.groups import groups_of
from ncollapse.theory.subjects.imbalance import merge_value, minority_thresholds
from ncollapse.theory.subjects.phases import phase_diagram

COUNTS = (90, 90, 90, 20, 20, 20, 20)
N = sum(COUNTS)
LOSSES = {
    "ce": CrossEntropy(),
    "ls": CrossEntropy(smoothing=0.2),
    "mse": MeanSquaredError(),
    "la": named("la", COUNTS),
    "weighted": CrossEntropy(weight=(1.0,) * 3 + (2.0,) * 4),
    "cdt": CrossEntropy(scale=(1.0,) * 3 + (0.8,) * 4),
}


def at(value: float, loss, bias):
    """The prediction with N² λ_W λ_H = value, at unequal decays."""
    decay = math.sqrt(value) / N
    return predict(COUNTS, loss=loss, bias=bias, weight_decay=3 * decay, feature_decay=decay / 3)


@pytest.mark.parametrize("bias", ["none", "free", 0.05])
@pytest.mark.parametrize("name", LOSSES)
def test_the_minority_merges_exactly_at_its_threshold(name, bias) -> None:
    loss = LOSSES[name]
    problem = UFM(COUNTS, loss=loss, bias=bias)
    small = groups_of(problem)[-1]
    value = merge_value(problem, small)
    assert value is not None
    below, above = at(0.999 * value, loss, bias), at(1.001 * value, loss, bias)
    assert not set(small.classes) & set(below.collapsed_classes)
    assert set(small.classes) <= set(above.collapsed_classes)
    for prediction, state in ((below, False), (above, True)):
        row = prediction.minority_threshold[-1]
        assert row.to_dict()["collapsed"] is state
        assert (row.factor >= 1) is state
        assert row.value == pytest.approx(value)
        assert row.current == pytest.approx((1.001 if state else 0.999) * value)


@pytest.mark.parametrize("bias", ["none", "free", 0.05])
@pytest.mark.parametrize("name", LOSSES)
def test_everything_vanishes_exactly_at_the_zero_threshold(name, bias) -> None:
    value = UFM(COUNTS, loss=LOSSES[name], bias=bias).zero_threshold()
    assert value is not None
    assert at(0.98 * value, LOSSES[name], bias).rank >= 1
    assert at(1.02 * value, LOSSES[name], bias).rank == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_balanced_zero_threshold_is_the_known_one(smoothing) -> None:
    """λ_W λ_H = (1-ε)²/(n K²), in the unit N² λ_W λ_H."""
    for bias in ("none", "free"):
        problem = UFM((30,) * 6, loss=CrossEntropy(smoothing=smoothing), bias=bias)
        assert problem.zero_threshold() == pytest.approx(30 * (1 - smoothing) ** 2)


RESCALED = RescaledSquaredError(15.0, 30.0)


def test_rescaled_squares_merge_exactly_at_their_threshold_without_a_bias() -> None:
    problem = UFM(COUNTS, loss=RESCALED, bias="none")
    value = merge_value(problem, groups_of(problem)[-1])
    assert value == pytest.approx(20 * (15 * 30) ** 2)
    below, above = at(0.999 * value, RESCALED, "none"), at(1.001 * value, RESCALED, "none")
    assert below.collapsed_classes == ()
    assert set(above.collapsed_classes) == {3, 4, 5, 6}
    assert problem.zero_threshold() == pytest.approx(90 * (15 * 30) ** 2)


@pytest.mark.parametrize("bias", ["free", 0.05])
def test_rescaled_squares_with_a_bias_merge_by_the_pull_at_their_logit(bias) -> None:
    """n (κM - (κ-1) v)² ≤ N² λ_W λ_H at the merged point, with equality where merging begins."""
    low, high = 0.0, 20 * (15 * 30.0) ** 2
    for _ in range(28):
        middle = 0.5 * (low + high)
        merged = bool(set(at(middle, RESCALED, bias).collapsed_classes) & {3, 4, 5, 6})
        low, high = (low, middle) if merged else (middle, high)
    apart, row = (at(value, RESCALED, bias).minority_threshold[-1] for value in (low / 2, 2 * high))
    assert row.collapsed and not apart.collapsed
    assert apart.value == pytest.approx(row.value, rel=1e-5)
    assert row.value == pytest.approx(high, rel=1e-5)
    problem = UFM(COUNTS, loss=RESCALED, bias=bias)
    logit = float(at(high * (1 + 1e-7), RESCALED, bias).solution.logits[3, 3])
    assert merge_value(problem, row.group, logit=logit) == pytest.approx(high, rel=1e-5)
    assert "apart, 2× below the merging threshold" in str(at(row.value / 2, RESCALED, bias))


SOUGHT = {
    "focal": Focal(2.0),
    "gentle focal": Focal(0.5),
    "weighted focal": Focal(3.0, weight=(1.0,) * 3 + (2.0,) * 4),
    "rescaled": RESCALED,
    "rescaled down": RescaledSquaredError(0.2, 3.0),
    "weighted rescaled": RescaledSquaredError(5.0, 2.0, weight=(1.0,) * 3 + (3.0,) * 4),
}


@pytest.mark.parametrize("bias", ["none", "free", 0.05])
@pytest.mark.parametrize("name", SOUGHT)
def test_thresholds_found_by_solving_are_where_the_solution_changes(name, bias) -> None:
    """A hundredth below its value every group stands apart, a hundredth above it is one; and the
    value is of the problem, not of the decay at which it was asked."""
    loss = SOUGHT[name]
    rows = minority_thresholds(UFM(COUNTS, loss=loss, bias=bias))
    assert [row.group.count for row in rows] == [90, 20]
    for i, row in enumerate(rows):
        assert row.value is not None
        below, above = (at(share * row.value, loss, bias) for share in (0.99, 1.01))
        assert not set(row.group.classes) & set(below.collapsed_classes)
        assert set(row.group.classes) <= set(above.collapsed_classes)
        assert above.minority_threshold[i].value == pytest.approx(row.value, rel=1e-5)


@pytest.mark.parametrize("bias", ["none", "free", 0.05])
def test_the_search_finds_what_formulas_say(bias) -> None:
    """γ = 0 is cross-entropy and κ = M = 1 mean squared error, but the search does not know."""
    problem = UFM((90, 90, 40, 40, 10, 10, 3), loss=Focal(0.0), bias=bias)
    values = [row.value for row in minority_thresholds(problem)]
    assert values == pytest.approx([90, 40, 10], rel=1e-5)
    squares = UFM((90, 90, 40, 40, 10, 10, 3), loss=MeanSquaredError(), bias=bias)
    assert squares.merging_thresholds([0, 3, 4]) == pytest.approx([90, 40, 10], rel=1e-5)


def test_balanced_focal_classes_merge_where_everything_vanishes() -> None:
    problem = UFM((30,) * 5, loss=Focal(2.0), bias="none")
    (row,) = minority_thresholds(problem)
    assert row.value == pytest.approx(problem.zero_threshold(), rel=1e-6)


def test_where_no_search_is_made_there_is_no_value() -> None:
    focal = Focal(2.0)
    for problem in (
        UFM((90, 90, 10, 10), loss=focal, nonnegative=True, bias="none"),
        UFM(tuple(range(1, 20)) * 2, loss=focal),
    ):
        assert {row.value for row in minority_thresholds(problem)} == {None}
    narrow = predict([90, 90, 10, 10], loss=focal, num_features=2)
    assert {row.value for row in narrow.minority_threshold} == {None}
    assert "no merging threshold is known" in str(narrow)


def test_a_class_of_its_own_has_no_threshold_and_a_note() -> None:
    p = predict([100, 80, 60, 40], weight_decay=1e-2)
    assert p.minority_threshold == ()
    assert any("alone with their count" in warning for warning in p.warnings)
    assert any("conjecture" in source for source in p.sources)


def test_groups_are_told_apart_by_every_parameter_of_the_loss() -> None:
    loss = CrossEntropy(weight=(1.0, 2.0, 1.0, 1.0), shift=(0.0, 0.0, 0.0, 1.0))
    found = groups_of(UFM((5, 5, 5, 5), loss=loss))
    assert [group.classes for group in found] == [(0, 2), (1,), (3,)]


def test_focal_thresholds_depend_on_the_merged_probability() -> None:
    problem = UFM((90, 90, 10, 10), loss=Focal(2.0), bias="none")
    small = groups_of(problem)[-1]
    assert merge_value(problem, small) is None
    assert merge_value(problem, small, 1e-9) == pytest.approx(10, rel=1e-4)
    cross = UFM((90, 90, 10, 10), loss=Focal(0.0), bias="none")
    assert merge_value(cross, small, 0.2) == pytest.approx(10 * 1.0)


def test_non_negative_features_and_binding_widths() -> None:
    problem = UFM((40, 10), bias="none", nonnegative=True)
    assert merge_value(problem, groups_of(problem)[-1]) == pytest.approx(5)
    assert problem.zero_threshold() is None
    narrow = UFM((40, 40, 10, 10), num_features=2)
    assert merge_value(narrow, groups_of(narrow)[-1]) is None


def test_problems_without_decay_have_no_thresholds() -> None:
    assert minority_thresholds(LPM((5, 5, 5))) == ()


def test_the_conjectured_rank_rule_on_random_problems() -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        counts = rng.integers(5, 500, size=7).tolist()
        decay = math.sqrt(float(rng.choice(counts)) * rng.uniform(0.4, 2)) / sum(counts)
        p = predict(counts, weight_decay=decay, feature_decay=decay)
        low, high = p.problem.rank_rule()
        assert low <= p.rank <= high
        assert p.problem.decay_product == pytest.approx((sum(counts) * decay) ** 2)


def test_the_phase_diagram_agrees_with_its_boundary() -> None:
    found = phase_diagram(
        (3, 4), 90, minority=[5, 20, 60], decays=np.geomspace(1e-3, 3e-2, 7).tolist()
    )
    assert found.spread.shape == (3, 7)
    merged = np.array(found.decays)[None, :] >= found.boundary[:, None]
    assert np.array_equal(found.collapsed > 0, merged)
    assert np.array_equal(found.spread == 0, merged)
    assert float(np.nanmax(found.gap)) <= 1e-6
    frame = found.to_frame()
    assert len(frame) == 21
    assert set(frame["collapsed"]) == {0, 4}
    axes = found.plot().axes[0]
    assert axes.get_xscale() == "log"
    with pytest.raises(ValueError, match="two small ones"):
        phase_diagram((3, 1), 90)


@pytest.mark.parametrize("bias", ["none", "free"])
def test_the_phase_diagram_of_rescaled_squares(bias) -> None:
    found = phase_diagram((2, 2), 50, minority=[5, 50], loss=RESCALED, bias=bias)
    assert (found.collapsed[:, 0] == 0).all() and (found.collapsed[:, -1] == 2).all()
    merged = np.array(found.decays)[None, :] >= found.boundary[:, None]
    if bias == "none":
        assert np.array_equal(found.collapsed > 0, merged)
    else:
        assert np.isnan(found.boundary).all()
    assert "κ²M²" in found.threshold
    found.plot()


def test_phase_diagrams_choose_their_own_grid() -> None:
    found = phase_diagram((2, 2), 4)
    assert len(found.decays) == 16
    assert found.minority == (1, 2, 3, 4)
    assert found.decays[0] < found.boundary.min() < found.boundary.max() < found.decays[-1]
