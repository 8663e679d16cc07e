"""Residual and transformer families: their shape, and what each part is, beside plain formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ncollapse.lab.catalog import names
from ncollapse.studies.models import equals, residual, transformer


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stream(model: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """h_0 … h_L, caught by hooks at `entry` and the blocks."""
    kept: list[Tensor] = []
    blocks = model.get_submodule("blocks")
    assert isinstance(blocks, nn.Sequential)
    watched = [model.get_submodule("entry"), *blocks]
    hooks = [one.register_forward_hook(lambda *call: kept.append(call[2])) for one in watched]
    model(inputs)
    for hook in hooks:
        hook.remove()
    return kept


def layer(model: nn.Module, name: str) -> nn.Linear:
    found = model.get_submodule(name)
    assert isinstance(found, nn.Linear)
    return found


@pytest.mark.parametrize("linears", [1, 2])
def test_residual_blocks_are_as_written(linears: int) -> None:
    model, x = residual(6, 6, 3, 2, linears=linears), draw(5, 6)
    h = stream(model, x)
    assert torch.equal(h[0], x)
    for number in range(2):
        first = layer(model, f"blocks.{number}.first")
        step = (h[number] @ first.weight.T + first.bias).clamp_min(0)
        if linears == 2:
            second = layer(model, f"blocks.{number}.second")
            step = step @ second.weight.T + second.bias
        torch.testing.assert_close(h[number + 1], h[number] + step)
    centred = h[2] - h[2].mean(1, keepdim=True)
    features = centred / centred.norm(dim=1, keepdim=True)
    torch.testing.assert_close(model(x), features @ layer(model, "head").weight.T)
    assert layer(model, "head").bias is None


@pytest.mark.parametrize("linears", [1, 2])
def test_attention_is_as_written(linears: int) -> None:
    model, x = transformer(4, 3, 12, 3, 1, linears=linears), draw(5, 4, 3)
    h, after = stream(model, x)

    def through(name: str, value: Tensor) -> Tensor:
        found = layer(model, f"blocks.0.attention.{name}")
        return value @ found.weight.T + found.bias

    for sample in range(5):
        weights = torch.zeros(4, 4)
        q, k = through("query", h[sample]), through("key", h[sample])
        for one in range(4):
            scores = torch.stack([q[one] @ k[other] / math.sqrt(12) for other in range(4)])
            weights[one] = scores.exp() / scores.exp().sum()
        step = weights @ through("value", h[sample])
        if linears == 2:
            step = through("output", step)
        inner = model.get_submodule("blocks.0.mlp")(h[sample] + step)
        torch.testing.assert_close(after[sample], inner, rtol=1e-4, atol=1e-5)


def test_tokens_keep_distances_and_stand_apart() -> None:
    model, x = transformer(4, 3, 16, 2, 1), draw(6, 4, 3)
    h = stream(model, x)[0]
    pooled = 4 * h.mean(1)
    torch.testing.assert_close(torch.cdist(pooled, pooled), torch.cdist(x.flatten(1), x.flatten(1)))
    # Tokens of different places lie in orthogonal subspaces.
    assert float((h[:, 0] @ h[:, 1].T).abs().max()) < 1e-5


def test_another_width_keeps_distances() -> None:
    x = draw(6, 5)
    h = stream(residual(5, 9, 2, 1), x)[0]
    torch.testing.assert_close(torch.cdist(h, h), torch.cdist(x, x), rtol=1e-4, atol=1e-5)


def test_attention_sees_tokens_without_an_order() -> None:
    model = transformer(4, 3, 12, 3, 2)
    h = draw(5, 4, 12)
    order = torch.tensor([2, 0, 3, 1])
    blocks = model.get_submodule("blocks")
    torch.testing.assert_close(blocks(h[:, order]), blocks(h)[:, order])


@pytest.mark.parametrize(
    ("attention", "linears", "layers"), [(1, 1, 4), (1, 2, 5), (2, 1, 5), (2, 2, 6)]
)
def test_linear_layers_of_a_block(attention: int, linears: int, layers: int) -> None:
    model = transformer(4, 3, 12, 3, 3, attention=attention, linears=linears)
    found = [one for one in model.get_submodule("blocks").modules() if isinstance(one, nn.Linear)]
    assert len(found) == 3 * layers


def test_without_the_norm_and_with_a_bias() -> None:
    model, x = residual(6, 6, 3, 2, norm=False, bias=True), draw(5, 6)
    head = layer(model, "head")
    torch.testing.assert_close(model(x), stream(model, x)[-1] @ head.weight.T + head.bias)


def test_features_have_unit_norm_and_zero_mean() -> None:
    model, x = transformer(4, 3, 12, 3, 2), draw(5, 4, 3)
    features = model[:-1](x).detach()
    torch.testing.assert_close(features.norm(dim=1), torch.ones(5))
    assert float(features.mean(1).abs().max()) < 1e-6


def test_only_blocks_and_head_are_trained() -> None:
    for model in (residual(6, 9, 3, 2), transformer(4, 3, 12, 3, 2)):
        assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"blocks", "head"}


def test_seeds_repeat_and_leave_the_global_state() -> None:
    before = torch.random.get_rng_state()
    one, other, third = (residual(5, 9, 3, 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert not torch.equal(layer(one, "head").weight, layer(third, "head").weight)


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="depth=0; at least 1 is needed"):
        residual(5, 9, 3, 0)
    with pytest.raises(ValueError, match="linears=3; a block has 1 linear layer or 2"):
        residual(5, 9, 3, 1, linears=3)
    with pytest.raises(ValueError, match="num_tokens=0"):
        transformer(0, 3, 12, 3, 1)
    with pytest.raises(ValueError, match="linears=0"):
        transformer(4, 3, 12, 3, 1, attention=0)


def test_models_are_no_study() -> None:
    assert "models" not in names()


def test_networks_of_one_recipe_give_features_of_either_sign() -> None:
    x = draw(7, 64).abs()
    made = equals(width=12, features=8, channels=(4, 4), resnet=2, blocks=1)
    assert len(made) == 9
    for name, model in made.items():
        head = layer(model, "head")
        assert head.bias is None and head.out_features == 10, name
        features = model.eval()[:-1](x).detach()
        assert features.shape == (7, head.in_features) and float(features.min()) < 0, name
    # Without activations the network is one affine map.
    linear = made["linear, BatchNorm"]
    torch.testing.assert_close(
        linear(0.3 * x[:1] + 0.7 * x[1:2]), 0.3 * linear(x[:1]) + 0.7 * linear(x[1:2])
    )
