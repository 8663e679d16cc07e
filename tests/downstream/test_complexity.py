"""Geometric complexity: probes against exact Jacobians, and the bound that it sets on CDNV."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ncollapse.downstream.complexity import (
    complexity_bound,
    geometric_complexity,
    poincare_gaussian,
)
from ncollapse.lab.models import mlp

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.rand(120, 16, generator=GENERATOR)
MATRIX = torch.randn(16, 5, generator=GENERATOR)


def test_a_linear_map_has_the_square_of_its_frobenius_norm() -> None:
    found = geometric_complexity(lambda x: x @ MATRIX, INPUTS)
    wanted = float(MATRIX.square().sum())
    assert found.exact and found.value == pytest.approx(wanted, rel=1e-5)
    assert found.high - found.low == pytest.approx(0, abs=1e-3)
    scaled = geometric_complexity(lambda x: 3 * x @ MATRIX, INPUTS)
    assert scaled.value == pytest.approx(9 * wanted, rel=1e-5)
    assert scaled.scaled == pytest.approx(found.scaled, rel=1e-5)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_64_probes_are_within_5_per_cent_of_exact(batch_norm: bool) -> None:
    net = mlp(16, (64, 48), 4, batch_norm=batch_norm, seed=1)[:-1].train()
    exact = geometric_complexity(net, INPUTS, exact=True)
    found = geometric_complexity(net, INPUTS, probes=64, exact=False)
    assert not found.exact and found.probes == 64
    assert found.value == pytest.approx(exact.value, rel=0.05)
    assert found.low < exact.value < found.high
    # The mode is put back, and the same seed gives the same number.
    assert net.training
    assert geometric_complexity(net, INPUTS, probes=64, exact=False).value == found.value


def test_gradients_switched_off_outside_do_not_matter() -> None:
    with torch.no_grad():
        assert geometric_complexity(lambda x: x @ MATRIX, INPUTS).value > 0


def blobs(classes: int = 3, each: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian classes in 6 dimensions, of unequal shapes."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(classes).repeat_interleave(each)
    noise = torch.randn(classes * each, 6, generator=generator).double()
    shape = torch.linspace(0.5, 1.5, 6).double() * (1 + labels[:, None] / 2)
    return 3 * torch.eye(6)[labels].double() + noise * shape, labels


@pytest.mark.parametrize("seed", range(4))
def test_complexity_bounds_cdnv_of_gaussian_classes(seed: int) -> None:
    inputs, labels = blobs()
    net = mlp(6, (32, 8), 3, batch_norm=False, activation=nn.Tanh, seed=seed)[:-1].double()
    found = complexity_bound(net, inputs, labels)
    assert 0 < found.cdnv < found.bound
    truth = [float((0.5 + 1.0) ** 2 * (1 + k / 2) ** 2) for k in range(3)]
    assert found.cdnv < complexity_bound(net, inputs, labels, truth).bound


def test_the_bound_is_reached_by_linear_maps_of_round_classes() -> None:
    inputs, labels = blobs()
    # Whitened class by class, the empirical covariance is the identity.
    rows = []
    for k in range(3):
        mine = inputs[labels == k]
        centred = mine - mine.mean(0)
        root = torch.linalg.inv(torch.linalg.cholesky(centred.T @ centred / len(mine)))
        rows.append(centred @ root.T + mine.mean(0))
    round_inputs = torch.cat(rows)
    torch.testing.assert_close(
        poincare_gaussian(round_inputs, labels), torch.ones(3, dtype=torch.float64)
    )
    matrix = torch.randn(6, 4, generator=torch.Generator().manual_seed(2)).double()
    found = complexity_bound(lambda x: x @ matrix, round_inputs, labels)
    assert found.cdnv == pytest.approx(found.bound, rel=1e-9)
    assert found.geometric == pytest.approx(found.bound, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: geometric_complexity(lambda x: x, torch.ones(6)), "no derivative"),
        (lambda: geometric_complexity(lambda x: x, INPUTS[:0]), "at least one"),
        (lambda: geometric_complexity(lambda x: x.detach(), INPUTS), "no derivative by the inputs"),
        (lambda: geometric_complexity(lambda x: x, INPUTS, probes=0), "probes=0"),
        (lambda: complexity_bound(lambda x: x, INPUTS, torch.zeros(120).long()), "1 class"),
        (
            lambda: complexity_bound(lambda x: x, INPUTS, torch.arange(120) % 3, [1.0]),
            "1 constants",
        ),
    ],
)
def test_bad_input_is_said(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
