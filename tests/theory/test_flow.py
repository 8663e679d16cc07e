"""Gradient flow without decay: conserved quantity, slow laws, and KKT points."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ncollapse.metrics.nc2 import nc2_etf
from ncollapse.metrics.nc3 import nc3_duality
from ncollapse.theory.problems import UFM, ULPM
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.solvers.flow import SHAPES, Point, aligned_margin, flow, kkt, kkt_point

PROBLEM = ULPM((3, 3, 3, 3))


@pytest.fixture(scope="module")
def path():
    return flow(PROBLEM, seed=0, until=1e10, points=101, width=5)


def test_the_flow_conserves_balance(path) -> None:
    assert path.balance_drift.max() < 1e-9


def test_loss_falls_and_norms_grow_for_ever(path) -> None:
    assert (np.diff(path.loss) < 0).all()
    assert (np.diff(path.weight_norm[20:]) > 0).all()
    assert path.loss[-1] < 1.1e-11


def test_the_direction_tends_to_the_largest_margin(path) -> None:
    assert path.largest_margin == pytest.approx(1 / (math.sqrt(3) * 3))
    late = path.t > 1e4
    assert (np.diff(path.normalised_margin[late]) > 0).all()
    assert (path.normalised_margin < path.largest_margin).all()
    assert path.normalised_margin[-1] > 0.97 * path.largest_margin
    assert (np.diff(path.kkt_stationarity[late]) < 0).all()
    assert (np.diff(path.kkt_complementarity[late]) < 0).all()


def test_laws_of_loss_and_spread_hold_slowly(path) -> None:
    at = [int(np.argmin(np.abs(np.log(path.t + 1e-300) - math.log(t)))) for t in (1e4, 1e6, 1e10)]
    law = path.law[at]
    assert law[0] == pytest.approx(0.86, abs=0.02)
    assert law[2] == pytest.approx(0.905, abs=0.01)
    assert law[0] < law[1] < law[2] < 1
    # NC1 falls only like 1/log t: a factor 2.5 in log t leaves the product within a quarter.
    assert path.nc1_log_t[at[2]] == pytest.approx(path.nc1_log_t[at[0]], rel=0.25)


def test_velocity_and_loss_are_those_of_the_objective() -> None:
    objective = Objective(PROBLEM, 5)
    flat = objective.start(3)
    start = objective.unpack(flat)
    step = 1e-6
    short = flow(PROBLEM, start=start, until=step, points=2)
    value, gradient = objective.value_and_gradient(flat)
    assert short.loss[0] == pytest.approx(value, abs=1e-14)
    moved = (objective.pack(short.point) - flat) / step
    torch.testing.assert_close(moved, -gradient, rtol=0, atol=1e-6)


def test_the_aligned_flow_is_the_closed_form() -> None:
    simplex = kkt_point("simplex", PROBLEM, width=3)
    start = Point(0.5 * simplex.weight, 0.5 * simplex.features)
    path = flow(PROBLEM, start=start, until=1e12, points=8)
    logits = path.geometry.weight @ path.geometry.means.T
    wanted = aligned_margin(1e12, num_classes=4, per_class=3, initial=0.25)
    assert float(logits[0, 0] - logits[0, 1]) == pytest.approx(float(wanted), rel=1e-9)
    np.testing.assert_allclose(path.normalised_margin, path.largest_margin, rtol=1e-10)
    assert path.kkt_stationarity.max() < 1e-6


def test_the_closed_form_solves_its_differential_equation() -> None:
    t = np.array([0.0, 1.0, 1e3, 1e8])
    a = aligned_margin(t, num_classes=10, per_class=7)
    assert a[0] == 1.0
    step = 1e-4 * np.maximum(t[1:], 1)
    ahead = aligned_margin(t[1:] + step, num_classes=10, per_class=7)
    behind = aligned_margin(t[1:] - step, num_classes=10, per_class=7)
    slope = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(slope, 2 * a[1:] / (math.sqrt(7) * (np.exp(a[1:]) + 9)), rtol=1e-5)
    loss = math.log1p(9 * math.exp(-float(aligned_margin(1e200, num_classes=10, per_class=7))))
    asymptote = math.sqrt(7) * 9 / (2e200 * 200 * math.log(10))
    assert loss == pytest.approx(asymptote, rel=0.02)


@pytest.mark.parametrize("classes", [4, 5, 6, 9])
@pytest.mark.parametrize("shape", SHAPES)
def test_points_that_are_no_simplex_are_stationary_and_can_be_left(
    shape: str, classes: int
) -> None:
    problem = ULPM((3,) * classes)
    impossible = {("cross-polytope", 5), ("cross-polytope", 9), ("product", 5)}
    if (shape, classes) in impossible:
        with pytest.raises(ValueError, match="no "):
            kkt_point(shape, problem)
        return
    point = kkt_point(shape, problem)
    found = kkt(point, problem)
    assert found.stationarity < 1e-12
    least = math.sqrt(3) * (classes - 1)
    if shape == "simplex":
        assert found.energy == pytest.approx(least, rel=1e-12)
        assert abs(found.excess) < 1e-10 and found.direction is None
        return
    assert found.energy > least * 1.05 and found.excess > 0.1
    assert found.rate is not None and found.rate < 0 and found.direction is not None
    step = 1e-3
    moved = kkt(
        Point(
            point.weight + step * found.direction.weight,
            point.features + step * found.direction.features,
        ),
        problem,
    )
    assert (moved.energy / found.energy - 1) / step**2 == pytest.approx(found.rate, rel=1e-3)


def test_a_narrow_point_has_no_direction_until_it_is_widened() -> None:
    problem = ULPM((1,) * 5)
    narrow = kkt_point("polygon", problem, width=2)
    assert kkt(narrow, problem).direction is None
    assert kkt(narrow.widened(4), problem).direction is not None


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="follows ULPM only"):
        flow(UFM((2, 2)))
    with pytest.raises(ValueError, match="until=0"):
        flow(PROBLEM, until=0.0)
    with pytest.raises(ValueError, match="until=1e\\+200; squares"):
        flow(PROBLEM, until=1e200)
    with pytest.raises(ValueError, match="tolerance=0"):
        flow(PROBLEM, tolerance=0.0)
    with pytest.raises(ValueError, match="initial=0"):
        aligned_margin(1.0, num_classes=3, per_class=1, initial=0.0)
    with pytest.raises(ValueError, match="separates"):
        kkt(Point(torch.zeros(4, 2).double(), torch.zeros(12, 2).double()), PROBLEM)
    with pytest.raises(ValueError, match="equal counts"):
        kkt_point("simplex", ULPM((2, 3)))
    with pytest.raises(ValueError, match="shape 'cube'"):
        kkt_point("cube", PROBLEM)
    with pytest.raises(ValueError, match="at least 3"):
        kkt_point("simplex", PROBLEM, width=2)


def test_the_flow_reaches_a_hundred_decades() -> None:
    far = flow(PROBLEM, seed=0, until=1e100, points=41, width=5)
    loose = flow(PROBLEM, seed=0, until=1e100, points=41, width=5, tolerance=1e-9)
    share, other = (one.normalised_margin / one.largest_margin for one in (far, loose))
    assert far.loss[-1] < 1e-100 and far.balance_drift.max() < 1e-9
    assert 0.99 < share[-1] < 1
    assert abs(share[-1] - other[-1]) < 1e-7
    late = far.t > 1e20
    for falling in (far.nc1, far.nc2, far.nc3):
        assert (np.diff(falling[late]) < 0).all()


def test_frame_gaps_along_the_flow_are_those_of_the_metrics(path) -> None:
    assert path.nc2[-1] == pytest.approx(float(nc2_etf(path.geometry)), rel=1e-9)
    assert path.nc3[-1] == pytest.approx(float(nc3_duality(path.geometry)), rel=1e-9)
