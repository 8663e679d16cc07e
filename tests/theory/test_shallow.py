"""Shallow networks: which data can collapse, on which rays features end, and the wide kernels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import ncollapse as nc
from ncollapse.theory.problems import UFM

K, N_EACH = 4, 10
LABELS = torch.arange(K).repeat_interleave(N_EACH)


def draw(dim: int, signal: float, seed: int) -> Tensor:
    """Unit noise about means of norm `signal` in random directions."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(K, dim, generator=generator, dtype=torch.float64)
    means = signal * means / means.norm(dim=1, keepdim=True)
    noise = torch.randn(K * N_EACH, dim, generator=generator, dtype=torch.float64)
    return means[LABELS] + noise


def risk(W1: Tensor, W2: Tensor, X: Tensor, y: Tensor, decays: tuple[float, float]) -> float:
    H = (X @ W1.T).relu()
    Y = torch.eye(len(W2), dtype=torch.float64)[y]
    loss = ((H @ W2.T - Y) ** 2).sum() / (2 * len(y))
    return float(loss + decays[0] / 2 * (W2**2).sum() + decays[1] / 2 * (H**2).sum())


# Of ten draws each, feasible ones: science notes, means of norm R in random directions.
QUICK = [(9, 8, 0), (20, 1, 0), (20, 8, 10), (32, 0, 10)]
SLOW = [(9, 32, 0), (11, 4, 0), (14, 4, (0, 2)), (14, 16, (5, 9)), (14, 32, 10), (20, 2, (0, 3)),
        (20, 4, (7, 10)), (26, 0, (0, 3)), (26, 1, (2, 7)), (26, 4, 10), (40, 0, 10)]  # fmt: skip
CELLS = [(*cell, 3) for cell in QUICK] + [
    pytest.param(*cell, 10, marks=pytest.mark.slow) for cell in SLOW
]


@pytest.mark.parametrize(("dim", "signal", "wanted", "draws"), CELLS)
def test_the_table_of_dimension_and_signal(dim, signal, wanted, draws) -> None:
    found = sum(bool(nc.theory.nc_feasible(draw(dim, signal, s), LABELS)) for s in range(draws))
    low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    assert low * draws <= 10 * found <= high * draws


@pytest.mark.parametrize("counts", [[10] * 4, [20, 10, 6, 4]])
@pytest.mark.parametrize("dim", [60, 34])
def test_a_feasible_network_reaches_the_bound(counts, dim) -> None:
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    X, decays = draw(dim, 0.5, 1), (1e-3, 2e-3)
    found = nc.theory.nc_feasible(X, labels)
    assert found and found.rank == min(dim, 40)
    bound = nc.theory.shallow_bound(counts, *decays)
    assert risk(*found.network(*decays), X, labels, decays) == pytest.approx(bound, rel=1e-9)


def test_weights_solve_the_programs() -> None:
    X = draw(26, 4, 0)
    found = nc.theory.nc_feasible(X, LABELS)
    Z = X @ found.weights.T
    own = torch.eye(K, dtype=torch.bool)[LABELS]
    torch.testing.assert_close(Z[own], torch.ones(40, dtype=torch.float64), rtol=0, atol=1e-6)
    assert float(Z[~own].max()) <= 1e-6


def test_balanced_bound_is_the_closed_form_and_no_network_is_below() -> None:
    for number, decays in ((10, (1e-3, 2e-3)), (3, (0.02, 0.05)), (10, (5.0, 5.0))):
        c = math.sqrt(decays[0] * decays[1] * number)
        bound = nc.theory.shallow_bound([number] * K, *decays)
        whole = K * (c - K * c**2 / 2) if K * c < 1 else 0.5
        assert bound == pytest.approx(whole, rel=1e-14)
        X, y = draw(12, 2, 3)[: K * number], torch.arange(K).repeat_interleave(number)
        W1 = torch.randn(6, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        W2 = torch.randn(K, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for scale in (0.0, 0.01, 0.1):
            assert risk(scale * W1, scale * W2, X, y, decays) >= bound * (1 - 1e-12)


@pytest.mark.parametrize("counts", [(10,) * 4, (20, 10, 6, 4)])
def test_the_bound_is_that_of_free_features(counts) -> None:
    problem = UFM(counts, loss=nc.losses.named("mse"), bias="none", weight_decay=2e-3,
                  feature_decay=1e-3)  # fmt: skip
    known = nc.theory.solve(problem).objective
    assert nc.theory.shallow_bound(counts, 2e-3, 1e-3) == pytest.approx(known, rel=1e-8)


def test_verdict_does_not_depend_on_scale_rotation_or_names_of_classes() -> None:
    generator = torch.Generator().manual_seed(5)
    turn, _ = torch.linalg.qr(torch.randn(26, 26, generator=generator, dtype=torch.float64))
    X = draw(26, 1, 2)
    known = nc.theory.nc_feasible(X, LABELS)
    for scale in (1e-6, 1e6):
        found = nc.theory.nc_feasible(scale * X @ turn, 7 - 2 * LABELS)
        assert found.feasible == known.feasible
        assert found.status == known.status[::-1]


def test_a_wide_first_layer_makes_infeasible_data_feasible() -> None:
    X = draw(20, 1, 0)
    two = nc.theory.nc_feasible(X, LABELS)
    three = nc.theory.nc_feasible(X, LABELS, first=80)
    assert not two and two.layers == 2 and "impossible" in two.reason
    assert three and three.layers == 3 and three.rank == 40 and three.dim == 80
    A = torch.eye(20, dtype=torch.float64)
    assert nc.theory.nc_feasible(X, LABELS, first=A).rank == 20
    with pytest.raises(ValueError, match="no such network"):
        two.network(1e-3, 1e-3)


def test_edges_count_as_feasible_and_contradictions_do_not() -> None:
    X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    found = nc.theory.nc_feasible(X, torch.tensor([0, 1, 1]))
    # Class 1 holds x and -x: no w is 1 on both; class 0 has to be 0 on both, at the edge.
    assert found.status == ("feasible", "infeasible")
    assert found.slack[0] == pytest.approx(0.0, abs=1e-7)
    twice = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    assert not nc.theory.nc_feasible(twice, torch.tensor([0, 1]))
    assert not nc.theory.nc_feasible(torch.zeros(4, 3), torch.tensor([0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("inputs", "labels", "said"),
    [
        (torch.ones(3), torch.tensor([0, 1, 1]), "shape"),
        (torch.ones(3, 2), torch.tensor([0, 1]), "one label a sample"),
        (torch.ones(3, 2), torch.tensor([0.0, 1, 1]), "integers"),
        (torch.ones(3, 2), torch.tensor([1, 1, 1]), "one class"),
        (torch.tensor([[1.0, torch.nan], [1, 1]]), torch.tensor([0, 1]), "sample 0"),
    ],
)
def test_bad_data_is_refused_in_a_sentence(inputs, labels, said) -> None:
    for verb in (nc.theory.nc_feasible, lambda x, y: nc.theory.norm_law(x, x, y)):
        with pytest.raises(ValueError, match=said):
            verb(inputs, labels)


def test_bad_options_are_refused() -> None:
    X = draw(20, 1, 0)
    with pytest.raises(ValueError, match="width"):
        nc.theory.nc_feasible(X, LABELS, first=0)
    with pytest.raises(ValueError, match="first layer"):
        nc.theory.nc_feasible(X, LABELS, first=torch.ones(5, 3))
    with pytest.raises(ValueError, match="positive"):
        nc.theory.shallow_bound([3, 3], 0.0, 1.0)
    with pytest.raises(ValueError, match="at least two"):
        nc.theory.shallow_bound([3], 1.0, 1.0)


# ---- rays -----------------------------------------------------------------------------------
def test_the_margin_direction_is_the_nearest_point_of_the_hull() -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(15, 6, generator=generator, dtype=torch.float64) * 0.5 + torch.ones(6)
    u, margin = nc.theory.class_margin(X)
    assert float(u.norm()) == pytest.approx(1.0, rel=1e-12)
    along = X @ u
    assert margin == pytest.approx(float(along.min()), rel=1e-12)
    # KKT: u is a non-negative combination of the samples on the margin, and no other does better.
    on_margin = X[along < margin + 1e-9]
    assert 1 < len(on_margin) <= 7
    coefficients = torch.linalg.lstsq(on_margin.T, u[:, None]).solution
    torch.testing.assert_close(on_margin.T @ coefficients, u[:, None], rtol=0, atol=1e-9)
    assert float(coefficients.min()) > 0
    others = torch.nn.functional.normalize(
        u + 0.1 * torch.randn(500, 6, generator=generator, dtype=torch.float64), dim=1
    )
    assert float((others @ X.T).min(1).values.max()) < margin


def test_features_that_follow_the_law_are_recognised() -> None:
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(3).repeat_interleave(20)
    X = torch.eye(3, 8, dtype=torch.float64)[y] * 3
    X = X + 0.4 * torch.randn(60, 8, generator=generator, dtype=torch.float64)
    law = nc.theory.norm_law(X, X, y)
    H = law.projections[:, None] * torch.eye(3, dtype=torch.float64)[y]
    again = nc.theory.norm_law(X, 5 * H, y)
    torch.testing.assert_close(again.correlation, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(again.predicted_cv, again.measured_cv)
    one = torch.eye(3, dtype=torch.float64)[y]
    constant = nc.theory.norm_law(X, one, y)
    assert bool(constant.correlation.isnan().all()) and float(constant.measured_cv.max()) == 0
    with pytest.raises(ValueError, match=r"class 0.*one side"):
        nc.theory.norm_law(torch.cat([X, -X]), torch.cat([H, H]), torch.cat([y, y]))


# ---- kernels --------------------------------------------------------------------------------
def test_kernels_are_those_of_wide_random_networks() -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    width = 2000
    W1 = torch.randn(5, width, generator=generator, dtype=torch.float64).requires_grad_()
    W2 = torch.randn(width, width, generator=generator, dtype=torch.float64).requires_grad_()
    v = torch.randn(width, generator=generator, dtype=torch.float64).requires_grad_()
    h1 = (X @ W1 / 5**0.5).relu() * (2 / width) ** 0.5
    h2 = (h1 @ W2).relu() * (2 / width) ** 0.5
    torch.testing.assert_close(h1 @ h1.T, nc.theory.nngp(X, 1), rtol=0, atol=0.25)
    torch.testing.assert_close(h2 @ h2.T, nc.theory.nngp(X, 2), rtol=0, atol=0.25)
    rows = []
    for i in range(3):
        grads = torch.autograd.grad((h2 @ v)[i], [W1, W2, v], retain_graph=True)
        rows.append(torch.cat([g.flatten() for g in grads]))
    found = torch.stack(rows) @ torch.stack(rows).T
    torch.testing.assert_close(found, nc.theory.ntk(X, 2)[:3, :3], rtol=0.2, atol=0.25)


@pytest.mark.parametrize("kernel", [nc.theory.nngp, nc.theory.ntk])
def test_kernels_are_positive_scale_and_need_no_order(kernel) -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    X = torch.cat([X, X[:1], X[:1] * 2, torch.zeros(1, 4)])
    for depth in (0, 1, 4):
        found = kernel(X, depth)
        assert torch.equal(found, found.T)
        values = torch.linalg.eigvalsh(found)
        assert float(values[0]) > -1e-12 * float(values[-1])
        torch.testing.assert_close(kernel(3 * X, depth), 9 * found)
        assert bool((found[-1] == 0).all())
        # The same ray: the kernel is linear in its length.
        torch.testing.assert_close(found[31], 2 * found[0])
    with pytest.raises(ValueError, match="depth"):
        kernel(X, -1)
    with pytest.raises(ValueError, match="finite"):
        kernel(X * torch.nan)


def test_kernels_see_small_angles() -> None:
    """1 - ρ⁺ by the recursion against its series θ²/2 - θ³/(3π) - θ⁴/24 + θ⁵/(30π)."""
    for angle in (1e-6, 1e-4, 1e-2):
        X = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
        rho = 2 * nc.theory.nngp(X, 3)[0, 1]
        known = angle
        for _ in range(3):
            gap = (
                known**2 / 2 - known**3 / (3 * math.pi) - known**4 / 24 + known**5 / (30 * math.pi)
            )
            known = math.acos(1 - gap) if gap > 1e-3 else math.sqrt(2 * gap) * (1 + gap / 12)
        assert float(1 - rho) == pytest.approx(gap, rel=1e-3, abs=4e-16)
