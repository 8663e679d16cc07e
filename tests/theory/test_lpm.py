"""Layer-peeled model with two groups: the finite collapse threshold against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ncollapse.theory.problems import LPM
from ncollapse.theory.solvers.descent import descend
from ncollapse.theory.solvers.lpm import collapse_ratio, train_two_groups, two_groups

REFERENCE = [
    (5, 5, 5.0, 12.19),
    (3, 7, 5.0, 245.5),
    (7, 3, 5.0, 4.00),
    (5, 5, 10.0, 81.1),
    (3, 7, 10.0, 6351.0),
    (7, 3, 10.0, 13.67),
]


@pytest.mark.parametrize(("majority", "minority", "energy", "ratio"), REFERENCE)
def test_thresholds_have_their_reference_values(
    majority: int, minority: int, energy: float, ratio: float
) -> None:
    assert collapse_ratio(majority, minority, feature_energy=energy) == pytest.approx(
        ratio, rel=5e-4
    )


@pytest.mark.parametrize("share", [0.9, 0.98, 1.02, 1.1])
def test_training_merges_minority_classes_exactly_beyond_the_threshold(share: float) -> None:
    ratio = share * collapse_ratio(5, 5, feature_energy=5.0)
    found = two_groups(5, 5, ratio, feature_energy=5.0)
    trained, deviation = train_two_groups(5, 5, ratio, feature_energy=5.0, seed=1)
    assert found.merged == (share > 1)
    assert trained.objective == pytest.approx(found.objective, abs=1e-13)
    np.testing.assert_allclose(trained.logits.numpy(), found.logits, atol=1e-7)
    assert (deviation < 1e-7) == found.merged
    assert deviation > 0.05 or found.merged


@pytest.mark.parametrize("energy", [0.01, 0.1, 1.0, 9.0])
@pytest.mark.parametrize("ratio", [1.0, 1.05, 4.0, 300.0])
def test_the_reduction_is_the_optimum_of_the_whole_problem(energy: float, ratio: float) -> None:
    found = two_groups(3, 2, ratio, weight_energy=energy, feature_energy=energy)
    trained = min(
        train_two_groups(3, 2, ratio, weight_energy=energy, feature_energy=energy, seed=s)[0].objective
        for s in range(2)
    )  # fmt: skip
    assert found.objective == pytest.approx(trained, abs=1e-11)
    nuclear = np.linalg.svd(found.logits, compute_uv=False).sum()
    assert nuclear == pytest.approx(found.radius, rel=1e-10)
    assert found.stationarity < 1e-10


def test_real_counts_give_the_same_optimum_as_weighted_classes() -> None:
    problem = LPM((12, 12, 3, 3), 1.0, 4.0)
    found = two_groups(2, 2, 4.0, feature_energy=4.0)
    trained = descend(problem, seed=0)
    assert trained.objective == pytest.approx(found.objective, abs=1e-12)
    assert trained.extra["nc1"] < 1e-12


def test_balanced_classes_give_the_closed_form() -> None:
    found = two_groups(3, 4, 1.0, weight_energy=2.0, feature_energy=3.0)
    K = 7
    wanted = math.log(1 + (K - 1) * math.exp(-K / (K - 1) * math.sqrt(6.0)))
    assert found.objective == pytest.approx(wanted, abs=1e-13)
    assert found.majority_spread == pytest.approx(found.minority_spread, rel=1e-6)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="minority=1"):
        collapse_ratio(3, 1)
    with pytest.raises(ValueError, match="feature_energy=0"):
        collapse_ratio(3, 3, feature_energy=0.0)
    for solver in (two_groups, train_two_groups):
        with pytest.raises(ValueError, match="ratio=0.5"):
            solver(3, 3, 0.5)
