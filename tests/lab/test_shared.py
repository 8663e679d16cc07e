"""What several studies read alike: frames, merging, closed forms, training from settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ncollapse.lab.by_name import listed
from ncollapse.lab.compared import compare, largest_gap, two_groups
from ncollapse.lab.cosines import block_means, filled, frame_gap, pairs
from ncollapse.lab.critical import constructed, critical, envelope_limit, saddle, truncated
from ncollapse.lab.curve import Curve
from ncollapse.lab.data import digits, long_tailed
from ncollapse.lab.free import (
    balanced,
    between_frames,
    from_starts,
    squared_error_lengths,
    trained,
    unbiased,
)
from ncollapse.lab.held_out import on_folds
from ncollapse.lab.merging import around, begin, merges, spread, spreads
from ncollapse.lab.models import mlp
from ncollapse.lab.statistics import paired
from ncollapse.lab.train import Settings, Silent, train
from ncollapse.losses import CrossEntropy, MeanSquaredError
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.descent import descend

PLAN = {"classes": 3, "count": 4, "features": 5, "weight_decay": 5e-3, "feature_decay": 5e-3}


# ---- frames -------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [2, 3, 7])
def test_ideal_frames_have_no_gap_and_scale_does_not_matter(size: int) -> None:
    eye = torch.eye(size, dtype=torch.float64)
    assert frame_gap(3 * eye, centred=False) == pytest.approx(0, abs=1e-12)
    assert frame_gap(0.1 * (eye - 1 / size), centred=True) == pytest.approx(0, abs=1e-12)
    assert frame_gap(eye, centred=True) > 0.1


def test_a_filled_square_has_the_means_that_it_was_filled_with() -> None:
    square = filled((0.5, -0.25, 0.125), 3, 5)
    assert block_means(square, 3) == (0.5, -0.25, 0.125)
    assert torch.equal(square, square.T)
    assert largest_gap(block_means(square, 3), (0.5, 0.0, 0.125)) == 0.25


def test_means_go_from_the_simplex_to_the_orthogonal_frame() -> None:
    rows = [between_frames(PLAN, decay, seed=0) for decay in (1e-3, 0.1, 10.0)]
    cosines = [found for _, _, found, _ in rows]
    assert cosines == sorted(cosines) and cosines[0] < -0.4 and abs(cosines[-1]) < 0.05
    assert max(error for *_, error in rows) < 1e-6


def test_the_closed_form_of_lengths_is_the_certified_optimum() -> None:
    problem = unbiased([9, 4, 1], 0.05, MeanSquaredError())
    geometry = solve(problem).geometry
    weight, means, logits = squared_error_lengths(problem)
    assert torch.allclose(geometry.weight.square().sum(1), weight, atol=1e-8)
    assert torch.allclose(geometry.means.square().sum(1), means, atol=1e-8)
    assert torch.allclose((geometry.weight @ geometry.means.T).diagonal(), logits, atol=1e-8)


# ---- where descent ends -------------------------------------------------------------------------
def test_every_start_ends_at_the_certified_optimum() -> None:
    found = from_starts(balanced(PLAN, CrossEntropy()), range(2), max_iterations=200_000)
    assert len(found["gaps"]) == len(found["iterations"]) == 2
    assert max(found["gaps"]) < 1e-8


def test_points_between_zero_and_the_optimum_are_saddles() -> None:
    problem = balanced(PLAN, MeanSquaredError())
    optimum = descend(problem, seed=0).extra["point"]
    for rank in (0, 1):
        found = saddle(problem, optimum, rank, seed=0, max_iterations=200_000)
        assert found["settled_rank"] == rank and found["gradient"] < 1e-8
        assert found["curvature"] == pytest.approx(found["formula"]) and found["curvature"] < 0
        assert found["escaped"] < 1e-8
    with pytest.raises(ValueError, match="the point of rank 3 is no saddle"):
        saddle(problem, optimum, 3, seed=0, max_iterations=10)


def test_cutting_to_the_full_rank_changes_no_logits() -> None:
    problem = balanced(PLAN, MeanSquaredError())
    optimum = descend(problem, seed=0).extra["point"]
    whole = truncated(optimum, problem.num_features)
    assert torch.allclose(whole.logits, optimum.logits)
    assert float(critical(problem, optimum, 0).logits.abs().max()) == 0


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_the_envelope_leaves_the_loss_where_its_slope_is_one(gamma: float) -> None:
    p = envelope_limit(gamma)
    assert 0.01 < p < 0.5
    assert (1 - p) ** gamma * (1 - p - gamma * p * math.log(p)) == pytest.approx(1)


def test_a_constructed_point_is_critical_and_no_optimum() -> None:
    found = constructed("polygon", 5, 3)
    assert found["residual"] < 1e-8 and found["change"] < 0 < found["above_simplex"]


# ---- merging ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("row", "place"), [([], 0), ([0.0, 0.0], 0), ([1, 0], 1), ([0, 1, 0], 2), ([0, 1], 2)]
)
def test_merging_begins_where_all_that_follows_is_merged(row: list[float], place: int) -> None:
    assert begin(row) == place
    assert all(map(merges, row[place:])) and (place == 0 or not merges(row[place - 1]))


def test_spread_is_over_the_longest_row_and_that_of_zeros_is_zero() -> None:
    rows = torch.tensor([[4.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert spread(rows, 1) == spread(10 * rows, 1) == 0.5
    assert spread(0 * rows, 1) == 0


def test_minorities_merge_past_the_threshold_and_not_before() -> None:
    apart, together = spreads((8, 8, 2, 2), (0.5, 2.0), seed=0)
    assert merges(together) and not merges(apart)
    rows = around(2, 2, (1.0, 3.0), (0.8, 1.25), seed=0)
    assert [row["agrees"] for row in rows] == [True, True]
    assert rows[0]["ratio"] == rows[1]["ratio"] > 1


# ---- networks -----------------------------------------------------------------------------------
def test_a_network_is_read_beside_its_prediction_by_name() -> None:
    found = compare(two_groups(12, 4), 5e-3, epochs=2, seed=0)
    names = ("measured", "predicted", "norm_ratio", "tau", "nc1", "collapsed", "distance")
    facts = found.facts(*names)
    assert tuple(facts) == names
    assert facts["tau"] == found.fit.tau and facts["nc1"] == found.network.nc1
    measured, aim = found.weights
    assert measured.shape[0] == aim.shape[0] == 10
    with pytest.raises(KeyError):
        found.facts("nothing")


def test_settings_of_training_are_picked_from_those_of_a_study() -> None:
    plan = {"epochs": 7, "weight_decay": 0.0, "folds": 3, "model": "mlp", "seen": 6}
    assert Settings.of(plan, seed=4) == Settings(epochs=7, weight_decay=0.0, seed=4)
    with pytest.raises(ValueError, match="epochs=0"):
        Settings.of({**plan, "epochs": 0})


def test_a_curve_has_a_value_every_few_epochs_and_leaves_training_alone() -> None:
    data = long_tailed(digits(), [6] * 10)
    settings = Settings(epochs=5, batch_size=30)
    curve = Curve(lambda state: float(state.epoch), every=2)
    one = train(mlp(64, (8,), 10), data, settings, [curve, Silent()])
    assert (curve.steps, curve.values) == ([4, 8], [2.0, 4.0])
    steps, values = curve.since(5)
    assert (steps.tolist(), values.tolist()) == ([8.0], [4.0])
    assert one.history == train(mlp(64, (8,), 10), data, settings).history


def test_arms_meet_the_same_folds() -> None:
    plan = {"epochs": 1, "batch_size": 600, "weight_decay": 0.0}
    rows = on_folds(lambda arm, n: mlp(64, (4,), 10, seed=n), ("a", "b"), plan, 2, seed=3)
    assert [row["fold"] for row in rows] == [0, 1]
    # Two arms of one network from one start on the same batches are one network.
    assert all(row[key]["a"] == row[key]["b"] for row in rows for key in ("accuracy", "nc1"))
    assert paired([{"rows": rows}], "b", "a") == [0.0, 0.0]


def test_one_name_or_a_list_of_names() -> None:
    assert listed("mlp") == ["mlp"]
    assert listed(["mlp", "conv"]) == listed(("mlp", "conv")) == ["mlp", "conv"]


def test_trained_problems_give_arrays_of_a_row_a_class() -> None:
    weight, means = trained(balanced(PLAN, CrossEntropy(), decay=1e-3), seed=0)
    assert weight.shape == means.shape == (3, 5)
    assert np.isfinite(float(pairs(weight @ means.T).sum()))
