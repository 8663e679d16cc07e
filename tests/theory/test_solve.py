"""solve against brute force, closed forms against the convex solver, and what happens at limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError, RescaledSquaredError, named
from ncollapse.theory.problems import GUFM, LPM, UFM, ULPM, NormalizedUFM
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.closed_form import zero_threshold
from tests.theory.oracle import train

COUNTS = [(4, 4, 4), (6, 3, 3, 2), (5, 5, 2, 2)]
SETTINGS = [
    ("ce", {}, "none"),
    ("ce", {}, "free"),
    ("ce", {}, 1e-2),
    ("ls", {"smoothing": 0.1}, "free"),
    ("ls", {"smoothing": 0.2}, 2e-2),
    ("mse", {}, "none"),
    ("mse", {}, "free"),
    ("mse", {}, 1e-1),
    ("rescaled", {"factor": 3.0, "target": 2.0}, "none"),
    ("rescaled", {"factor": 3.0, "target": 2.0}, "free"),
    ("rescaled", {"factor": 0.4, "target": 2.0}, 1e-1),
    ("focal", {"gamma": 2.0}, "none"),
    ("focal", {"gamma": 1.0}, "free"),
    ("weighted", {}, "free"),
    ("la", {}, "none"),
    ("cdt", {}, "free"),
    ("vs", {}, 1e-2),
]


def problem(counts, name, parameters, bias, **more) -> UFM:
    loss = named(name, counts, **parameters)
    decays = {"weight_decay": 6e-3, "feature_decay": 2e-3}
    return UFM(counts, loss=loss, bias=bias, **{**decays, **more})


def gram_gap(solution, trained) -> float:
    g = solution.geometry
    mine = g.weight @ g.weight.T, g.means @ g.means.T
    return max(float((a - b).abs().max()) for a, b in zip(mine, trained.grams, strict=True))


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s[0]}-{s[2]}")
def test_value_and_grams_are_those_of_brute_force(counts, setting) -> None:
    p = problem(counts, *setting)
    found = solve(p, tolerance=1e-11)
    trained = train(p)
    assert trained.gradient < 1e-9
    assert found.status == "optimal"
    assert abs(found.objective - trained.value) <= 1e-9
    assert found.certificate.lower_bound <= trained.value + 1e-12
    assert gram_gap(found, trained) <= 1e-6


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize(
    "loss",
    [CrossEntropy(), MeanSquaredError(), RescaledSquaredError(3.0, 2.0)],
    ids=["ce", "mse", "rescaled"],
)
def test_peeled_model_is_that_of_brute_force(counts, loss) -> None:
    p = LPM(counts, weight_energy=0.8, feature_energy=0.5, loss=loss)
    found = solve(p, tolerance=1e-12)
    trained = train(p, seeds=3)
    assert found.status == "optimal"
    assert abs(found.objective - trained.value) <= 1e-9
    assert gram_gap(found, trained) <= 2e-6
    g = found.geometry
    assert float((g.weight**2).sum()) <= p.num_classes * p.weight_energy * (1 + 1e-9)
    assert float((g.means**2).sum()) <= p.num_classes * p.feature_energy * (1 + 1e-9)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("loss", [CrossEntropy(), MeanSquaredError()], ids=["ce", "mse"])
def test_narrow_widths_are_those_of_brute_force(width, loss) -> None:
    p = UFM((6, 3, 3, 2), weight_decay=6e-3, feature_decay=2e-3, loss=loss, num_features=width)
    found, trained = solve(p), train(p, width=width, seeds=4 if width > 1 else 24)
    assert abs(found.objective - trained.value) <= 1e-8
    assert found.geometry.num_features == width
    if loss == CrossEntropy():
        assert found.status == "not certified" and found.gap > 1e-3
        assert found.solver == "burer-monteiro" and "num_features=3" in found.advice
        assert solve(replace(p, num_features=3)).status == "optimal"


@pytest.mark.parametrize("loss", [CrossEntropy(), RescaledSquaredError(3.0, 2.0)], ids=str)
@pytest.mark.parametrize("solver", ["convex", "burer-monteiro", "descent"])
def test_solvers_agree(solver, loss) -> None:
    p = UFM((6, 6, 3), weight_decay=6e-3, feature_decay=2e-3, loss=loss)
    exact, other = solve(p, tolerance=1e-11), solve(p, solver=solver, tolerance=1e-11)
    assert other.objective == pytest.approx(exact.objective, abs=1e-8)
    assert float(other.geometry.distance(exact.geometry)) < 1e-3


def test_two_groups_of_a_thousand_classes_stay_grouped() -> None:
    p = UFM((1000,) * 500 + (10,) * 500, weight_decay=5e-5, feature_decay=1e-6)
    found = solve(p)
    assert found.status == "optimal" and found.relative_gap <= 1e-8
    assert found.spectrum.shape == (1000,)
    assert found.geometry.weight.shape == (1000, 999)


@pytest.mark.parametrize("width", [None, 4, 9])
def test_geometry_has_the_asked_width(width) -> None:
    p = UFM((7, 7, 3, 2), weight_decay=5e-3, feature_decay=2e-3, num_features=width)
    g = solve(p).geometry
    assert g.num_features == (3 if width is None else width)
    assert g.counts.tolist() == [7, 7, 3, 2]
    assert g.bias.shape == (4,) and g.weight.dtype == torch.float64


def test_logits_and_balance_of_energies() -> None:
    p = UFM((9, 5, 5, 2), weight_decay=4e-3, feature_decay=1e-3, bias="free")
    found = solve(p, tolerance=1e-11)
    g = found.geometry
    counts = g.counts.to(torch.float64)
    assert p.weight_decay * float((g.weight**2).sum()) == pytest.approx(
        p.feature_decay * float((counts[:, None] * g.means**2).sum())
    )
    logits = found.logits
    labels = torch.arange(4)
    loss = (counts / counts.sum()) @ p.loss(logits.T, labels)
    energy = p.weight_decay * float((g.weight**2).sum())
    assert found.objective == pytest.approx(float(loss) + energy, rel=1e-12)
    A = (logits - g.bias[:, None]) * (counts / counts.sum()).sqrt()
    np.testing.assert_allclose(torch.linalg.svdvals(A), found.spectrum, atol=1e-12)


# ---- thresholds ---------------------------------------------------------------------------------
MERGING = [
    ("ce", {}, "none"),
    ("ce", {}, "free"),
    ("mse", {}, "none"),
    ("mse", {}, "free"),
    ("mse", {}, 1e-2),
    ("rescaled", {"target": 1.0}, "free"),
    ("ls", {"smoothing": 0.2}, "free"),
    ("la", {}, "none"),
]


@pytest.mark.parametrize("setting", MERGING, ids=lambda s: f"{s[0]}-{s[2]}")
@pytest.mark.parametrize("factor", [0.999, 1.001])
def test_minority_merges_at_its_threshold_exactly(setting, factor) -> None:
    """N² λ_W λ_H = n_g (1-ε)² (0.999 and 1.001 times in λ_W λ_H)."""
    counts = (50,) * 3 + (10,) * 4
    smoothing = setting[1].get("smoothing", 0.0)
    level = (10 * (1 - smoothing) ** 2 * factor) ** 0.5 / sum(counts)
    found = solve(problem(counts, *setting, weight_decay=level, feature_decay=level))
    assert found.status == "optimal"
    assert all(spread > 0 for spread in found.spreads[:3])
    if factor > 1:
        assert all(spread == 0.0 for spread in found.spreads[3:])
    else:
        assert all(spread > 1e-6 for spread in found.spreads[3:])


@pytest.mark.parametrize("counts", [(8, 8, 8), (12, 5, 5, 2)], ids=str)
@pytest.mark.parametrize("bias", ["none", "free", 1e-2])
@pytest.mark.parametrize("name", ["ce", "mse", "ls", "rescaled"])
def test_zero_is_optimal_from_its_threshold_on(counts, bias, name) -> None:
    own = {"factor": 5.0, "target": 3.0} if name == "rescaled" else {}
    p = problem(counts, name, own, bias)
    level = zero_threshold(p)
    if name == "ce" and len(set(counts)) == 1:
        assert level == pytest.approx(1 / (8 * 9))
    for factor, rank in ((1.001, 0), (0.999, 1)):
        at = replace(p, weight_decay=(factor * level) ** 0.5, feature_decay=(factor * level) ** 0.5)
        found = solve(at, tolerance=1e-12)
        assert (found.rank >= 1) == bool(rank)
        if not rank:
            assert float(found.geometry.weight.abs().max()) == 0.0


# ---- other problems -----------------------------------------------------------------------------
def test_peeled_minority_collapse_ratio() -> None:
    """R* = 12.19 for five and five classes at E_W = 1, E_H = 5."""
    for ratio, merged in ((12.0, False), (12.4, True)):
        counts = (int(100 * ratio),) * 5 + (100,) * 5
        found = solve(LPM(counts, weight_energy=1, feature_energy=5), tolerance=1e-10)
        assert (found.spreads[-1] == 0.0) == merged


@pytest.mark.parametrize(
    "given",
    [
        NormalizedUFM((5, 5, 3), temperature=3.0),
        GUFM((5, 3, 2), weight_decay=1e-2),
        UFM((6, 4, 2), weight_decay=6e-3, feature_decay=2e-3, nonnegative=True),
        LPM((6, 4, 2), weight_energy=1.0, feature_energy=1.0, num_features=1),
    ],
    ids=lambda p: type(p).__name__,
)
def test_problems_without_a_bound_say_so(given) -> None:
    found = solve(given, seed=1)
    assert found.status == "not certified" and found.advice
    assert found.gap is None or found.gap > 1e-6


def test_direction_without_decay_from_the_flow() -> None:
    wide = solve(ULPM((4, 4, 4)))
    assert wide.objective == pytest.approx(2 * 2.0)
    path = solve(ULPM((4, 4, 4)), solver="descent", until=1e6)
    assert path.status == "not certified"
    assert wide.objective <= path.objective < 1.1 * wide.objective
    assert float(path.geometry.distance(wide.geometry)) < 0.1


def test_focal_outside_its_convex_part_is_not_certified() -> None:
    counts = (100,) * 3 + (1,) * 7
    found = solve(
        UFM(counts, weight_decay=4e-3, feature_decay=4e-3, loss=Focal(2.0), bias="none"),
        max_iterations=500,
    )
    assert found.status != "optimal" and found.gap > 1e-4 and "focal" in found.advice


def test_a_stopped_solver_returns_its_gap_and_advice() -> None:
    counts = tuple(range(5, 65, 3))
    p = UFM(counts, weight_decay=1e-4, feature_decay=1e-4)
    found = solve(p, max_iterations=1, tolerance=1e-14)
    assert found.status == "not converged" and found.gap > 0
    assert "max_iterations" in found.advice
    assert found.certificate.lower_bound <= solve(p).objective


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solve(UFM((3, 2)), solver="magic"), "closed form, convex"),
        (lambda: solve(UFM((3, 2)), tolerance=0.0), "positive"),
        (lambda: solve(UFM((3, 2)), solver="closed form"), "no closed form"),
        (lambda: solve(UFM((3, 2), nonnegative=True), solver="convex"), "H ≥ 0"),
        (lambda: solve(GUFM((3, 2)), solver="convex"), "does not apply"),
        (
            lambda: solve(
                UFM((6, 4, 2), weight_decay=1e-3, feature_decay=1e-3, num_features=1),
                solver="convex",
            ),
            "below the rank",
        ),
    ],
)
def test_bad_input(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_same_call_gives_the_same_numbers() -> None:
    p = UFM((9, 5, 2), weight_decay=4e-3, feature_decay=1e-3, num_features=1)
    first, second = solve(p), solve(p)
    assert first.objective == second.objective
    assert torch.equal(first.geometry.weight, second.geometry.weight)
