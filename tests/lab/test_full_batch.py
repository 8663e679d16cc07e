"""Full-batch training descends the regularised objective, and networks of any activation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ncollapse.lab.full_batch import train_full_batch
from ncollapse.lab.models import mlp, topped


def head(dim: int, num_classes: int) -> nn.Linear:
    """Without a bias, at zero."""
    made = nn.utils.skip_init(nn.Linear, dim, num_classes, bias=False)
    nn.init.zeros_(made.weight)
    return made


def test_it_ends_at_the_ridge_solution() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 5, generator=generator)
    y = torch.arange(20) % 3
    decay = 0.1
    model = head(5, 3)
    train_full_batch(model, x, y, decay, steps=400, learning_rate=0.02, loss="mse")
    assert not model.training
    # ½ ‖x W - onehot‖² averaged over samples, and λ/2 ‖W‖².
    target = torch.eye(3)[y]
    wanted = torch.linalg.solve(x.T @ x / 20 + decay * torch.eye(5), x.T @ target / 20).T
    torch.testing.assert_close(model.weight.detach(), wanted, atol=1e-4, rtol=1e-3)


def test_what_is_fixed_stays() -> None:
    model = mlp(5, (4,), 3, batch_norm=False)
    first, last = model.get_submodule("linear0"), model.get_submodule("head")
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    first.requires_grad_(False)
    before, after = first.weight.clone(), last.weight.clone()
    x = torch.ones(6, 5)
    train_full_batch(model, x, torch.arange(6) % 3, 0.1, steps=3)
    assert torch.equal(first.weight, before) and not torch.equal(last.weight, after)


def test_bad_input() -> None:
    model = head(5, 3)
    with pytest.raises(ValueError, match="steps=0"):
        train_full_batch(model, torch.zeros(3, 5), torch.arange(3), 0.1, steps=0)
    with pytest.raises(ValueError, match="loss='hinge'"):
        train_full_batch(model, torch.zeros(3, 5), torch.arange(3), 0.1, steps=1, loss="hinge")


def test_activation_and_normalisation_of_an_mlp() -> None:
    plain = mlp(5, (7, 7), 3, batch_norm=False, layer_norm=True, activation=nn.GELU)
    kinds = [type(one).__name__ for one in plain]
    assert kinds == ["Linear", "LayerNorm", "GELU"] * 2 + ["Linear"]
    # The weights of a seed do not depend on what stands between linear layers.
    default, other = mlp(5, (7, 7), 3), mlp(5, (7, 7), 3, activation=nn.Tanh)
    assert all(
        torch.equal(value, other.state_dict()[name]) for name, value in default.state_dict().items()
    )


def test_a_head_above_a_body() -> None:
    before = torch.random.get_rng_state()
    body = nn.Flatten()
    one, other = topped(body, 6, 3, seed=1), topped(body, 6, 3, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    x = torch.ones(2, 2, 3)
    assert torch.equal(one(x), other(x)) and one(x).shape == (2, 3)
