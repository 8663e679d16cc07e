"""The gap of a network to normalised free features: none at the optimum, never below it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ncollapse.measuring.gufm_gap import GUFMGap, gufm_gap
from ncollapse.studies.models import residual
from ncollapse.theory import GUFM, solve
from ncollapse.theory.problems.point import class_labels

K, WIDTH, COUNTS = 4, 9, (3, 3, 3, 3)
LABELS = class_labels(COUNTS)


def linear(weight: Tensor, trained: bool = True) -> nn.Linear:
    made = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=False)
    made.weight = nn.Parameter(weight.clone(), requires_grad=trained)
    return made


def at_optimum(decay: float, loss: str, norm: float = 1.0) -> tuple[nn.Sequential, Tensor]:
    """The optimum of GUFM as a network: one-hot samples, a fixed map to features of that norm."""
    from ncollapse.losses import named

    best = solve(GUFM(COUNTS, decay / norm**2, loss=named(loss), num_features=WIDTH)).geometry
    assert best.means is not None and best.weight is not None
    model = nn.Sequential()
    model.add_module("body", linear(norm * best.means.T, trained=False))
    model.add_module("head", linear(best.weight / norm))
    return model, torch.eye(K, dtype=torch.float64)[LABELS]


@pytest.mark.parametrize("norm", [1.0, 3.0])
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_no_gap_at_the_optimum(loss: str, norm: float) -> None:
    model, x = at_optimum(1e-2, loss, norm)
    found = gufm_gap(model, x, LABELS, 1e-2, loss=loss)
    assert found.certified and found.rest_decay == 0
    assert abs(found.gap) < 1e-9


def test_values_of_the_optima() -> None:
    # Ten classes: cross-entropy at 5e-3, and 1/2 (1-w)² + λKw²/2 at w = 1/(1 + λK).
    model, labels = residual(12, 12, 10, 1), torch.arange(20) % 10
    x = torch.randn(20, 12, generator=torch.Generator().manual_seed(0))
    assert gufm_gap(model, x, labels, 5e-3).optimum == pytest.approx(0.47532, abs=5e-6)
    w = 1 / (1 + 1e-2)
    squares = gufm_gap(model, x, labels, 1e-3, loss="mse").optimum
    assert squares == pytest.approx(0.5 * (1 - w) ** 2 + 0.5 * 1e-2 * w**2, abs=1e-8)


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_parts_and_sign_for_any_network(loss: str) -> None:
    x = torch.randn(12, 9, generator=torch.Generator().manual_seed(1))
    for seed in range(4):
        model = residual(9, 9, K, 2, seed=seed)
        found = gufm_gap(model, x, LABELS, 1e-2, loss=loss)
        whole = sum(float(p.detach().double().square().sum()) for p in model.parameters())
        assert found.head_decay + found.rest_decay == pytest.approx(0.5e-2 * whole)
        assert found.gap == pytest.approx(found.objective - found.optimum)
        # What the features cost above the optimum is not negative either.
        assert found.gap - found.rest_decay > 0


def test_moving_from_the_optimum_costs() -> None:
    model, x = at_optimum(1e-2, "ce")
    head = model.get_submodule("head")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.mul_(1.1)
    assert gufm_gap(model, x, LABELS, 1e-2).gap > 1e-4


def test_unbalanced_counts_are_not_certified() -> None:
    labels = class_labels((5, 3, 2, 2))
    x = torch.randn(12, 9, generator=torch.Generator().manual_seed(1))
    found = gufm_gap(residual(9, 9, K, 2), x, labels, 1e-2)
    assert isinstance(found, GUFMGap) and not found.certified and found.gap > found.rest_decay


def test_the_model_is_left_as_it_was() -> None:
    model, x = at_optimum(1e-2, "ce")
    model.train()
    gufm_gap(model, x, LABELS, 1e-2)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert not model.get_submodule("head")._forward_pre_hooks


def test_bad_input() -> None:
    x = torch.randn(12, 9, generator=torch.Generator().manual_seed(1))
    model = residual(9, 9, K, 1)
    with pytest.raises(ValueError, match="weight_decay=0; a positive number"):
        gufm_gap(model, x, LABELS, 0)
    with pytest.raises(ValueError, match="head 'top' is NoneType; a linear layer without a bias"):
        gufm_gap(model, x, LABELS, 1e-2, head="top")
    with pytest.raises(ValueError, match="head 'head' has a bias"):
        gufm_gap(residual(9, 9, K, 1, bias=True), x, LABELS, 1e-2)
    with pytest.raises(ValueError, match="all 4 classes of the head are needed"):
        gufm_gap(model, x, LABELS.clamp_max(2), 1e-2)
    with pytest.raises(ValueError, match="one norm, zero mean"):
        gufm_gap(residual(9, 9, K, 1, norm=False), x, LABELS, 1e-2)
