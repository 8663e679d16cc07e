"""The studies of residual depth and architecture: what they measure, apart from what they find."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ncollapse.lab.compared import certified_gap
from ncollapse.lab.statistics import power
from ncollapse.losses import CrossEntropy
from ncollapse.studies import find
from ncollapse.studies.residual_depth.runs import DECAYS
from ncollapse.theory import UFM, solve
from ncollapse.theory.problems.point import class_labels

COUNTS = (6,) * 4
LABELS = class_labels(COUNTS)


def optimum(tau: float) -> tuple[Tensor, Tensor]:
    """Weight and features, one a sample, of the free optimum at this τ."""
    decay = tau / math.sqrt(sum(COUNTS))
    best = solve(UFM(COUNTS, weight_decay=decay, feature_decay=decay, loss=CrossEntropy()))
    assert best.geometry.weight is not None and best.geometry.means is not None
    return best.geometry.weight, best.geometry.means[LABELS]


def test_the_gap_vanishes_at_the_optimum_alone() -> None:
    weight, features = optimum(0.05)
    assert certified_gap(weight, features, LABELS, 0.05) < 1e-6
    noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(0)).double()
    gaps = [certified_gap(weight, features + s * noise, LABELS, 0.05) for s in (0.1, 0.3, 1.0)]
    assert 0 < gaps[0] < gaps[1] < gaps[2] < 1


def test_the_gap_does_not_see_how_scale_is_shared() -> None:
    weight, features = optimum(0.05)
    noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(0)).double()
    gap = certified_gap(weight, features + noise, LABELS, 0.05)
    assert certified_gap(weight / 7, 7 * (features + noise), LABELS, 0.05) == pytest.approx(gap)


def test_slopes_are_of_powers_from_a_least_depth() -> None:
    rows = [{"depth": L, "gap": 3 * L**-0.7} for L in (2, 4, 8)]
    assert power([{"depth": 1, "gap": 9.0}, *rows], "depth", "gap", 2) == pytest.approx(-0.7)
    assert math.isnan(power([*rows, {"depth": 16, "gap": -1.0}], "depth", "gap"))


def test_decays_by_name() -> None:
    found = [decay(5e-3, 8) for decay in DECAYS.values()]
    log = math.log(8)
    assert found == pytest.approx([5e-3, 5e-3 / log, 5e-3 / log**2, 5e-3 / 8])
    # Each falls faster than the one before.
    ratios = [decay(1.0, 2**20) / decay(1.0, 2**10) for decay in DECAYS.values()]
    assert ratios == sorted(ratios, reverse=True)


def test_sizes_are_those_that_were_asked_for() -> None:
    depth = find("residual-depth").settings
    assert depth["quick"]["rn1"] == [2, 8, 32] and depth["quick"]["tx1"] == [1, 4, 8]
    assert depth["full"]["seeds"] >= 3 and max(depth["full"]["rn1"]) == 32
    for size in depth.values():
        assert size["no_norm"] in size["rn1"] and 1 not in size["rn2"]
    assert find("architecture").settings["full"]["widths"][-1] == 512
