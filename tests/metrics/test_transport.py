"""Optimal transport: closed forms, brute force, the routes and what they say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from ncollapse.metrics.transport import (
    _feasible,
    assigned,
    draw,
    pairing,
    straightness,
    wasserstein2,
)


def cloud(rng: np.random.Generator, rows: int, dim: int = 3) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=(rows, dim)))


def test_equal_clouds_are_transported_as_by_trying_every_permutation(rng) -> None:
    x, y = cloud(rng, 6), cloud(rng, 6)
    best = min(
        float(((x - y[list(order)]) ** 2).sum()) / 6 for order in itertools.permutations(range(6))
    )
    found = wasserstein2(x, y)
    assert found.squared == pytest.approx(best, rel=1e-12)
    assert found.distance == pytest.approx(best**0.5, rel=1e-12)
    assert found.route == "exact assignment"
    assert found.samples == (6, 6)


def test_on_a_line_sorting_is_optimal(rng) -> None:
    x, y = cloud(rng, 300, 1), cloud(rng, 300, 1)
    wanted = float(((x.sort(0).values - y.sort(0).values) ** 2).mean())
    assert wasserstein2(x, y).squared == pytest.approx(wanted, rel=1e-12)


def test_a_shift_costs_its_square_and_a_pair_that_is_close_is_exact(rng) -> None:
    x = cloud(rng, 40) + 1000
    shift = torch.tensor([1e-7, -2e-7, 0.0])
    moved = x + shift
    wanted = float(((moved - x) ** 2).sum(1).mean())
    assert wasserstein2(x, moved).squared == pytest.approx(wanted, rel=1e-9)
    assert wasserstein2(x, x).squared == 0


def test_rotation_and_order_change_nothing_and_scale_squares(rng) -> None:
    x, y = cloud(rng, 30), cloud(rng, 30)
    turn = torch.linalg.qr(cloud(rng, 3)).Q
    value = wasserstein2(x, y).squared
    assert wasserstein2(x @ turn, y @ turn).squared == pytest.approx(value, rel=1e-10)
    assert wasserstein2(x[torch.randperm(30, generator=torch.Generator())], y).squared == (
        pytest.approx(value, rel=1e-10)
    )
    assert wasserstein2(3 * x, 3 * y).squared == pytest.approx(9 * value, rel=1e-10)
    assert wasserstein2(y, x).squared == pytest.approx(value, rel=1e-10)


def test_pot_agrees_with_the_assignment_and_repeats_count_as_weights(rng) -> None:
    pytest.importorskip("ot")
    x, y = cloud(rng, 25), cloud(rng, 25)
    even = torch.ones(25)
    through = wasserstein2(x, y, (even, even))
    assert through.route == "exact plan (POT)"
    assert through.squared == pytest.approx(wasserstein2(x, y).squared, rel=1e-9)
    # Twice the mass is two samples in one place.
    mass = torch.ones(20)
    mass[:5] = 2
    repeated = torch.cat([x[:20], x[:5]])
    weighted = wasserstein2(x[:20], y, (mass, even))
    assert weighted.squared == pytest.approx(wasserstein2(repeated, y).squared, rel=1e-9)
    assert wasserstein2(x[:20], y).route == "exact plan (POT)"


def test_large_clouds_say_their_route_and_the_sinkhorn_plan_bounds_from_above(rng) -> None:
    x, y = cloud(rng, 80), 2 + cloud(rng, 80)
    exact = wasserstein2(x, y).squared
    drawn = wasserstein2(x, y, exact=30, seed=3)
    assert drawn.route == "exact assignment of 30 and 30 samples drawn by seed 3"
    assert drawn == wasserstein2(x, y, exact=30, seed=3)
    assert drawn != wasserstein2(x, y, exact=30, seed=4)
    pytest.importorskip("ot")
    blurred = wasserstein2(x, y, exact=30, above="sinkhorn")
    assert "Sinkhorn" in blurred.route
    assert blurred.samples == (80, 80)
    assert exact <= blurred.squared <= 1.1 * exact


def test_a_plan_made_feasible_has_its_marginals(rng) -> None:
    rows, columns = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(7))
    for rough in (rng.random((5, 7)), np.zeros((5, 7)), np.outer(rows, columns)):
        plan = _feasible(rough, rows, columns)
        assert plan.min() >= -1e-17
        assert np.allclose(plan.sum(1), rows, atol=1e-15)
        assert np.allclose(plan.sum(0), columns, atol=1e-15)


def test_samples_read_high_on_average(rng) -> None:
    x, y = cloud(rng, 60), cloud(rng, 60) * 1.5
    whole = wasserstein2(x, y).squared
    drawn = [wasserstein2(x, y, exact=20, seed=seed).squared for seed in range(40)]
    assert np.mean(drawn) > whole


def test_a_sample_by_mass_leaves_out_what_weighs_nothing(rng) -> None:
    x = torch.cat([cloud(rng, 30), 1e6 + cloud(rng, 30)])
    mass = torch.cat([torch.ones(30), torch.zeros(30)])
    found = wasserstein2(x, x, (mass, mass), exact=20)
    assert found.squared < 100
    assert found.samples == (20, 20)


def test_pairings(rng) -> None:
    x = cloud(rng, 50)
    # The gradient of a convex function is an optimal map, so leaving pairs alone is best.
    stretched = x @ torch.diag(torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)) + 1
    best = pairing(x, stretched)
    assert best.optimality == pytest.approx(1, abs=1e-12)
    assert best.matched == 1
    swapped = stretched[torch.arange(50).flip(0)]
    worse = pairing(x, swapped)
    assert worse.optimality > 1.5
    assert worse.squared == pytest.approx(best.squared, rel=1e-10)
    assert worse.matched == 0
    assert pairing(x, x.flip(0)).optimality == math.inf
    assert pairing(x, x).optimality == 1


def test_paths_are_straight_on_a_geodesic_alone(rng) -> None:
    x = cloud(rng, 50)
    y = 3 * x
    points = [torch.lerp(x, y, time) for time in (0.0, 0.3, 0.4, 1.0)]
    steps = [wasserstein2(a, b).distance for a, b in itertools.pairwise(points)]
    whole = wasserstein2(x, y).distance
    assert straightness(steps, whole) == pytest.approx(1, abs=1e-12)
    points[1] = points[1] + torch.tensor([1.0, 0, 0])
    steps = [wasserstein2(a, b).distance for a, b in itertools.pairwise(points)]
    assert straightness(steps, whole) > 1.01
    assert straightness([1.0, 1.0], 0.0) == math.inf
    assert straightness([0.0], 0.0) == 1


def test_drawing_takes_everything_where_it_can() -> None:
    assert draw(5, 9, 0).tolist() == [0, 1, 2, 3, 4]
    some = draw(100, 10, 0)
    assert len(set(some.tolist())) == 10
    assert some.tolist() == sorted(some.tolist())


def test_partners_are_a_permutation(rng) -> None:
    _, partner = assigned(cloud(rng, 40), cloud(rng, 40))
    assert sorted(partner.tolist()) == list(range(40))


def test_a_missing_library_is_named_with_its_command(rng, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ValueError, match=r"pip install 'ncollapse\[ot\]'"):
        wasserstein2(cloud(rng, 3), cloud(rng, 4))


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((torch.zeros(3, 2), torch.zeros(3, 4)), {}, "2 and 4 features"),
        ((torch.zeros(0, 2), torch.zeros(3, 2)), {}, "at least one sample"),
        ((torch.zeros(3), torch.zeros(3, 2)), {}, r"shape \(3,\)"),
        ((torch.full((3, 2), torch.nan), torch.zeros(3, 2)), {}, "first cloud has NaN"),
        ((torch.zeros(3, 2), torch.zeros(3, 2)), {"exact": 0}, "exact=0"),
        ((torch.zeros(3, 2), torch.zeros(3, 2), (torch.ones(2), torch.ones(3))), {}, "one mass"),
        ((torch.zeros(3, 2), torch.zeros(3, 2), (-torch.ones(3), torch.ones(3))), {}, "mass ≥ 0"),
    ],
)
def test_bad_input(arguments, options, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wasserstein2(*arguments, **options)


def test_a_pairing_needs_one_shape() -> None:
    with pytest.raises(ValueError, match="same samples"):
        pairing(torch.zeros(3, 2), torch.zeros(4, 2))
