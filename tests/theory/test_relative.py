"""Gaps are shares of f, however small f is: laws of scale for solvers, certificates and statuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError, RescaledSquaredError, named
from ncollapse.theory.certificate import certify
from ncollapse.theory.problems import LPM, UFM
from ncollapse.theory.problems.fixed_head import FixedHead
from ncollapse.theory.proof import relative_gap
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.blocks import Groups
from ncollapse.theory.solvers.convex import minimize
from ncollapse.theory.solvers.forms.cross_entropy import GroupedCrossEntropy
from ncollapse.theory.solvers.forms.gap import GroupedGap
from ncollapse.theory.solvers.relaxation import Relaxation
from ncollapse.theory.subjects.fit import fit_tau

COUNTS = (60, 60, 60, 12, 12, 5)
LOSSES = {
    "ce": lambda counts: CrossEntropy(),
    "ls": lambda counts: CrossEntropy(smoothing=0.1),
    "la": lambda counts: named("la", counts),
    "focal": lambda counts: Focal(2.0),
    "mse": lambda counts: MeanSquaredError(),
    "weighted mse": lambda counts: MeanSquaredError(weight=(1, 1, 1, 2, 2, 3)),
    "rescaled": lambda counts: RescaledSquaredError(5.0, 3.0),
}


def problem(tau: float, counts=COUNTS, loss="ce", bias="free", skew: float = 3.0) -> UFM:
    decay = tau / math.sqrt(sum(counts))
    return UFM(
        counts,
        loss=LOSSES[loss](counts),
        bias=bias,
        weight_decay=decay * skew,
        feature_decay=decay / skew,
    )


def test_a_relative_gap_is_a_share_of_the_objective() -> None:
    assert relative_gap(1e-12, 1e-6) == pytest.approx(1e-6)
    assert relative_gap(1e-12, -4.0) == pytest.approx(2.5e-13)
    assert relative_gap(0.0, 0.0) == 0.0
    assert relative_gap(1e-30, 0.0) > 1e200
    found = solve(problem(1e-5))
    assert found.objective < 1e-3
    assert found.relative_gap == found.gap / found.objective


@pytest.mark.parametrize("bias", ["none", "free", 0.05])
@pytest.mark.parametrize("loss", LOSSES)
def test_more_samples_at_less_decay_change_nothing(loss, bias) -> None:
    """Counts × c and λ_W λ_H / c leave τ, and with it logits, values, statuses and gaps."""
    one = solve(problem(1e-4, loss=loss, bias=bias))
    many = tuple(7 * count for count in COUNTS)
    other = solve(problem(1e-4, many, loss, bias, skew=0.2))
    assert one.status == other.status == "optimal"
    assert max(one.relative_gap, other.relative_gap) <= 1e-8
    assert one.objective == pytest.approx(other.objective, rel=1e-8, abs=0)
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_more_samples_at_less_decay_leave_the_fit(loss) -> None:
    many = tuple(7 * count for count in COUNTS)
    solutions = [
        solve(problem(1e-4, counts, loss, skew=s)) for counts, s in ((COUNTS, 3), (many, 1))
    ]
    fits = [fit_tau(found.geometry, loss=LOSSES[loss](COUNTS)) for found in solutions]
    assert fits[0].tau == pytest.approx(1e-4, rel=1e-5)
    assert fits[0].tau == pytest.approx(fits[1].tau, rel=1e-5)
    assert [fit.prediction.solution.status for fit in fits] == ["optimal"] * 2


@pytest.mark.parametrize("size", [1e-9, 1e-4, 1e4])
@pytest.mark.parametrize("bias", [None, 0.0])
@pytest.mark.parametrize(
    "kind", [CrossEntropy, MeanSquaredError, lambda weight: Focal(2.0, weight)]
)
def test_a_loss_in_other_units_has_the_same_minimiser(kind, bias, size) -> None:
    """w × s and τ × s multiply f by s: every rule of the solver must see the same problem."""
    found = [
        minimize(Relaxation(COUNTS, kind(weight=(s,) * 6), s * 1e-2, bias)) for s in (1.0, size)
    ]
    assert all(one.converged and one.relative_gap <= 1e-8 for one in found)
    assert found[1].objective == pytest.approx(size * found[0].objective, rel=1e-12, abs=0)
    for part in ("spread", "core"):
        one, two = (getattr(run.point, part) for run in found)
        np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("bias", [None, 0.0, 0.05])
@pytest.mark.parametrize("tau", [1e-8, 1e-6, 1e-3])
@pytest.mark.parametrize("loss", ["ce", "la", "focal"])
def test_small_objectives_are_certified_to_their_own_digits(loss, tau, bias) -> None:
    made = LOSSES[loss](COUNTS)
    grouped, single = (
        minimize(Relaxation(COUNTS, made, tau, bias, merge=merge)) for merge in (True, False)
    )
    assert grouped.converged and grouped.relative_gap <= 1e-8
    assert grouped.objective == pytest.approx(single.objective, rel=2e-8, abs=0)
    assert grouped.objective < 40 * tau


@pytest.mark.parametrize("tau", [1e-7, 1e-3])
def test_a_bound_from_a_point_keeps_its_digits(tau) -> None:
    found = solve(problem(tau))
    g = found.geometry
    proven = certify(
        g.weight,
        g.means,
        torch.arange(6),
        weight_decay=found.problem.weight_decay,
        feature_decay=found.problem.feature_decay,
        loss=found.problem.loss,
        bias=g.bias,
        copies=torch.tensor(COUNTS),
    )
    assert proven.objective == pytest.approx(found.objective, rel=1e-7, abs=0)
    assert 0 <= proven.gap <= 1e-7 * proven.objective


def test_what_rounding_hides_is_said_and_not_called_optimal() -> None:
    found = solve(problem(1e-9, loss="rescaled"))
    assert found.status == "not certified" and "rounding" in found.advice
    assert 1e-8 < found.relative_gap < 1e-2
    again = solve(problem(1e-9, loss="rescaled"), tolerance=2 * found.relative_gap)
    assert again.status == "optimal"


def test_the_layer_peeled_model_with_much_energy() -> None:
    found = solve(LPM((60, 60, 60, 12, 12, 5), weight_energy=16.0, feature_energy=16.0))
    assert found.status == "optimal"
    assert found.objective < 1e-4 and found.relative_gap <= 1e-8


# ---- fixed heads --------------------------------------------------------------------------------
def head(width: int = 3) -> nc.Geometry:
    generator = torch.Generator().manual_seed(4)
    return nc.Geometry(weight=torch.randn(4, width, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("loss", [CrossEntropy(), Focal(2.0)], ids=lambda loss: loss.name)
@pytest.mark.parametrize("energy", [1e2, 1e4])
def test_a_large_ball_has_a_small_optimum(loss, energy) -> None:
    """f is e^{-margins}: its geometry is that of the largest Σ e^{z_j - z_y} for every class."""
    found = solve(FixedHead((50, 3, 3, 1), head=head(), loss=loss, feature_energy=energy))
    assert found.status == "optimal" and found.relative_gap <= 1e-8
    lengths = found.geometry.means.norm(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, energy**0.5), rtol=1e-9, atol=0)


def test_targets_within_reach_are_an_objective_of_exactly_zero() -> None:
    for kind in ("simplex", "orthogonal"):
        p = nc.predict(
            [5, 3, 2],
            loss="dr",
            model="fixed-head",
            head=kind,
            weight_energy=2.0,
            feature_energy=3.0,
        )
        assert p.objective == p.lower_bound == p.relative_gap == 0.0
        assert p.solution.status == "optimal"


def test_the_gap_is_what_cross_entropy_increases_with(rng) -> None:
    groups = Groups.of((1,) * 5, None, (1.0, 0.5, 2.0, 1.5, 1.0), (0.3, 0, 0, -1, 0), merge=False)
    gap, loss = GroupedGap(groups), GroupedCrossEntropy(0.0, groups)
    logits, step = rng.standard_normal((5, 5)), rng.standard_normal((5, 5))
    own = np.diagonal(logits)
    np.testing.assert_allclose(np.logaddexp(0, gap.value(own, logits)), loss.value(own, logits))
    value, by_own, by_others = gap.gradient(own, logits)
    np.testing.assert_allclose(value, gap.value(own, logits))

    def slope(t: float) -> np.ndarray:
        moved = logits + t * step
        _, one, two = gap.gradient(np.diagonal(moved), moved)
        return one * np.diagonal(step) + (two * step).sum(0)

    ahead, behind = (
        gap.value(np.diagonal(m), m) for m in (logits + 1e-6 * step, logits - 1e-6 * step)
    )
    np.testing.assert_allclose(slope(0.0), (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8)
    bend = gap.curvature(own, logits).product(np.diagonal(step), step)
    bent = bend[0] * np.diagonal(step) + (bend[1] * step).sum(0)
    np.testing.assert_allclose(bent, (slope(1e-6) - slope(-1e-6)) / 2e-6, rtol=1e-5, atol=1e-7)
    # Fenchel: equality at the gradient.
    paired = by_own * own + (by_others * logits).sum(0)
    np.testing.assert_allclose(paired - gap.conjugate(by_own, by_others), value, rtol=1e-12)
    samples = gap.sample_gradients(logits.T.copy(), np.arange(5))
    np.testing.assert_allclose(np.diagonal(samples), by_own)
    np.testing.assert_allclose(samples.sum(1), by_own + by_others.sum(0), atol=1e-12)
