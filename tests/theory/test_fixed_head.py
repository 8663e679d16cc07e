"""Fixed heads: every class alone, against sample-level brute force, formulas, and its own bound."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import ncollapse as nc
from ncollapse.losses import (
    CrossEntropy,
    DotRegression,
    Focal,
    MeanSquaredError,
    RescaledSquaredError,
)
from ncollapse.theory.problems import FixedHead
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.fixed_head import bounds

COUNTS = (5, 3, 3, 2)
K, N = len(COUNTS), sum(COUNTS)
LOSSES = [
    CrossEntropy(),
    CrossEntropy(0.1, weight=(1.0, 2.0, 2.0, 0.5)),
    CrossEntropy(scale=(1.0, 0.6, 0.6, 1.3), shift=(0.5, 0.0, 0.0, -1.0)),
    MeanSquaredError(),
    RescaledSquaredError(5.0, 3.0),
    DotRegression(2.0, 1.5),
    Focal(2.0),
]
LIMITS = [{"feature_energy": 1.5}, {"feature_decay": 4e-3}]


def given(classes: int = K, width: int = 6, *, bias: bool = False, seed: int = 0) -> nc.Geometry:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    shift = torch.randn(classes, generator=generator, dtype=torch.float64) if bias else None
    return nc.Geometry(weight=rows, bias=shift)


HEADS = {
    "simplex": {"head": "simplex", "weight_energy": 2.0},
    "orthogonal": {"head": "orthogonal", "weight_energy": 2.0},
    "given": {"head": given()},
    "given with bias": {"head": given(bias=True)},
    "narrow": {"head": given(width=2)},
}


def brute_force(problem: FixedHead, rows: torch.Tensor, bias: torch.Tensor | None):
    """All N features free; in the ball h = R x/√(‖x‖² + s²), which reaches inside and edge."""
    labels = torch.repeat_interleave(torch.arange(K), torch.tensor(problem.counts))
    width = rows.shape[1]
    count = problem.num_samples

    def features(x: torch.Tensor) -> torch.Tensor:
        if problem.feature_energy is None:
            return x.reshape(count, width)
        x = x.reshape(count, width + 1)
        return problem.radius * x[:, :-1] / x.norm(dim=1, keepdim=True)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.tensor(flat, requires_grad=True)
        H = features(x)
        logits = H @ rows.T if bias is None else H @ rows.T + bias
        value = problem.loss(logits, labels).mean()
        value = value + (problem.feature_decay or 0.0) / 2 * H.square().sum()
        (slope,) = torch.autograd.grad(value, x)
        return float(value.detach()), slope.numpy()

    extra = width + (problem.feature_energy is not None)
    start = 0.3 * np.random.default_rng(0).standard_normal(count * extra)
    options = {"maxiter": 5000, "maxfun": 10_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 30}
    for _ in range(3):
        done = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
        start = done.x
    return float(done.fun), features(torch.tensor(done.x)), labels


@pytest.mark.parametrize("limit", LIMITS, ids=["ball", "decay"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name)
@pytest.mark.parametrize("head", HEADS)
def test_value_and_features_are_those_of_brute_force(head, loss, limit) -> None:
    problem = FixedHead(COUNTS, loss=loss, **HEADS[head], **limit)
    found = solve(problem)
    assert found.status == "optimal" and found.relative_gap <= 1e-10
    g = found.geometry
    value, features, labels = brute_force(problem, g.weight, g.bias)
    assert abs(found.objective - value) <= 1e-9
    assert found.certificate.lower_bound <= value + 1e-12
    if any("not unique" in note for note in found.extra["notes"]):
        # Classes whose optimum lies inside the ball: the shortest features are given.
        lengths = features.norm(dim=1), g.means[labels].norm(dim=1)
        assert (lengths[1] <= lengths[0] + 1e-4).all()
    else:
        # At the end of its reach dot regression is flat to fourth order in the angle.
        flat = isinstance(loss, DotRegression) and problem.effective_decay == 0
        torch.testing.assert_close(features, g.means[labels], rtol=0, atol=5e-2 if flat else 2e-4)
    if problem.feature_energy is not None:
        assert float(g.means.norm(dim=1).max()) <= problem.radius * (1 + 1e-12)


@pytest.mark.parametrize("limit", LIMITS, ids=["ball", "decay"])
@pytest.mark.parametrize(
    "loss", [loss for loss in LOSSES if getattr(loss, "scale", None) is None], ids=lambda x: x.name
)
@pytest.mark.parametrize("head", ["simplex", "orthogonal"])
def test_formulas_of_the_frames_are_what_the_solver_finds(head, loss, limit) -> None:
    problem = FixedHead(COUNTS, loss=loss, **HEADS[head], **limit)
    exact = solve(problem, solver="closed form")
    assert exact.certificate.kind == "closed form" and exact.relative_gap <= 1e-14
    other = solve(problem, solver="convex")
    assert other.certificate.kind == "convexity"
    assert exact.objective == pytest.approx(other.objective, abs=1e-11)
    if isinstance(loss, DotRegression) and problem.effective_decay == 0:
        # Flat to fourth order in the angle.
        return
    torch.testing.assert_close(exact.logits, other.logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("counts", [(10, 10, 10, 10), (1000, 1000, 3, 1)])
@pytest.mark.parametrize("head", HEADS)
def test_dot_regression_aligns_features_with_rows_whatever_the_counts(head, counts) -> None:
    """h_k = √E_H w_k/‖w_k‖ where √(E_W E_H) is out of reach or just at it."""
    reach = 3.0
    bias = HEADS[head]["head"]
    longest = 2.0 if isinstance(bias, str) else float(bias.weight.square().sum(1).max())
    loss = DotRegression(4 * longest, reach)
    found = solve(FixedHead(counts, loss=loss, feature_energy=reach, **HEADS[head]))
    rows = found.geometry.weight
    wanted = reach**0.5 * rows / rows.norm(dim=1, keepdim=True)
    if head != "given with bias":
        torch.testing.assert_close(found.geometry.means, wanted, rtol=0, atol=1e-12)
    assert found.status == "optimal"


def test_dot_regression_by_name_takes_its_energies_from_the_model() -> None:
    p = nc.predict([500] * 3 + [5] * 3, loss="dr", model="fixed-head", weight_energy=2.0, feature_energy=3.0)  # fmt: skip
    assert p.problem.loss == DotRegression(2.0, 3.0)
    assert p.objective == pytest.approx(0, abs=1e-25)
    torch.testing.assert_close(p.solution.logits.diagonal(), torch.full((6,), 6.0**0.5).double())
    assert not any("not unique" in said for said in p.warnings)
    assert p.geometry.distance(nc.Geometry.simplex_etf(6, 5)).value < 1e-12
    given_head = nc.control.SimplexHead(12, 6, scale=2.0).geometry
    p = nc.predict([7] * 6, loss="dr", model="fixed-head", head=given_head)
    assert p.problem.loss.target == pytest.approx(2.0, rel=1e-6)
    assert p.problem.num_features == 12


def test_decay_leaves_dot_regression_short_of_its_target() -> None:
    """t = ‖w‖ (T - b)/(‖w‖² + N λ_H T), T = √(E_W E_H)."""
    problem = FixedHead(COUNTS, weight_energy=2.0, feature_decay=0.01, loss=DotRegression(2.0, 1.0))
    target = 2.0**0.5
    wanted = 2.0**0.5 * target / (2.0 + N * 0.01 * target)
    norms = solve(problem).geometry.means.norm(dim=1)
    torch.testing.assert_close(norms, torch.full((K,), wanted).double())


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name)
def test_class_counts_do_not_move_the_geometry(loss) -> None:
    for limit in LIMITS:
        problems = [
            FixedHead(counts, head=given(), loss=loss, **limit)
            for counts in ((10, 10, 10, 10), (37, 1, 1, 1))
        ]
        first, second = (solve(problem) for problem in problems)
        torch.testing.assert_close(first.geometry.means, second.geometry.means, rtol=0, atol=1e-9)


@pytest.mark.parametrize("limit", LIMITS, ids=["ball", "decay"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name)
def test_the_bound_holds_at_any_features(loss, limit, rng) -> None:
    problem = FixedHead(COUNTS, head=given(bias=True), loss=loss, **limit)
    best = solve(problem)
    weight, bias = best.geometry.weight.numpy(), best.geometry.bias.numpy()
    for _ in range(50):
        features = rng.standard_normal((6, K)) * rng.uniform(0, 2)
        if problem.feature_energy is not None:
            features *= np.minimum(1, problem.radius / np.linalg.norm(features, axis=0))
        value, bound = bounds(problem, weight, bias, features)
        assert bound <= best.objective + 1e-12 <= value + 2e-12


def test_focal_loss_in_a_ball_has_the_features_of_cross_entropy() -> None:
    problem = FixedHead(COUNTS, head=given(), feature_energy=0.3, loss=Focal(3.0))
    focal, plain = solve(problem), solve(replace(problem, loss=CrossEntropy()))
    torch.testing.assert_close(focal.geometry.means, plain.geometry.means, rtol=0, atol=1e-7)
    # Even where p_y is so small that the focal loss bends the wrong way.
    shrunk = replace(problem, feature_energy=1e-4, head=given(bias=True, seed=3))
    shares = solve(shrunk).logits.softmax(0).diagonal()
    assert float(shares.min()) < 0.1
    assert solve(shrunk).status == "optimal"


def test_focal_loss_with_decay_says_when_it_is_not_certified() -> None:
    problem = FixedHead((5,) * 40, weight_energy=0.1, feature_decay=1e-3, loss=Focal(2.0))
    found = solve(problem)
    assert found.status == "not certified"
    assert found.gap > 1e-6 and "feature_energy" in found.advice


def test_what_the_loss_does_not_see_is_left_out_and_said() -> None:
    within = FixedHead(COUNTS, weight_energy=2.0, feature_energy=4.0, loss=DotRegression(2.0, 1.0))
    found = solve(within)
    rows = found.geometry.weight
    torch.testing.assert_close(found.geometry.means, rows / rows.norm(dim=1, keepdim=True))
    assert any("4 classes reach it inside the ball" in note for note in found.extra["notes"])
    wide = FixedHead(COUNTS, num_features=9, feature_energy=100.0, loss=MeanSquaredError())
    assert any("not unique" in note for note in solve(wide).extra["notes"])
    narrow = replace(wide, num_features=K - 1)
    assert not any("not unique" in note for note in solve(narrow).extra["notes"])


def test_many_classes_take_a_moment() -> None:
    problem = FixedHead((500,) * 100, head=given(100, 512), feature_energy=1.0)
    began = time.perf_counter()
    found = solve(problem)
    assert time.perf_counter() - began < 2.0
    assert found.status == "optimal" and found.relative_gap <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("loss", [CrossEntropy(), MeanSquaredError()], ids=["ce", "mse"])
def test_a_thousand_classes_of_a_badly_conditioned_head(loss) -> None:
    rows = given(1000, 1000).weight / 1000**0.5
    found = solve(FixedHead((9,) * 1000, head=nc.Geometry(weight=rows), feature_energy=9.0, loss=loss))  # fmt: skip
    assert found.status == "optimal"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FixedHead((3, 2), feature_energy=1.0, feature_decay=1.0), "one of the two"),
        (lambda: FixedHead((3, 2), feature_energy=0.0), "feature_energy=0.0"),
        (lambda: FixedHead((3, 2), weight_energy=-1.0), "weight_energy=-1.0"),
        (lambda: FixedHead((3, 2), head="cube"), "'simplex', 'orthogonal' or a Geometry"),
        (lambda: FixedHead((3, 2, 2), num_features=1), "at least 2"),
        (lambda: FixedHead((3, 2, 2), head="orthogonal", num_features=2), "at least 3"),
        (lambda: FixedHead((3, 2), head=given()), "4 rows and counts has 2"),
        (lambda: FixedHead(COUNTS, head=given(), num_features=3), "reads 6 features"),
        (lambda: FixedHead(COUNTS, head=given(), weight_energy=1.0), "leave weight_energy out"),
        (lambda: FixedHead((3, 2), head=nc.Geometry(means=torch.eye(2))), "holds no weight"),
        (lambda: FixedHead((3, 2), head=nc.Geometry(weight=torch.zeros(2, 2))), "zero or not"),
        (lambda: solve(FixedHead((3, 2)), solver="descent"), "does not apply to FixedHead"),
        (lambda: solve(FixedHead(COUNTS, head=given()), solver="closed form"), "no closed form"),
    ],
)
def test_bad_input(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", [*LOSSES, Focal(0.0)], ids=lambda x: x.name)
def test_extreme_settings_end_without_overflow(loss) -> None:
    """Balls of nearly no and of huge size, narrow heads, and a row that is zero or a copy."""
    rows = given(bias=True).weight.clone()
    rows[2], rows[3] = rows[1], 0
    for head in (given(width=1), given(width=3, seed=5), nc.Geometry(weight=rows)):
        for limit in ({"feature_energy": 1e-8}, {"feature_energy": 1e6}, {"feature_decay": 1e-9}):
            found = solve(FixedHead((50, 3, 3, 1), head=head, loss=loss, **limit))
            assert found.status == "optimal" and np.isfinite(found.objective)
