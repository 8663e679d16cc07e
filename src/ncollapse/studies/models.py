"""Networks that studies share, deep residual ones and transformers among them; no study of itself.

Deep ones have the same names: `entry` (its output is h_0), `blocks.0` … `blocks.L-1` (h_1 … h_L),
for transformers `pool`, then `norm` and `head`. L counts the blocks, not the head. Blocks after
Súkeník, Lampert & Mondelli 2025 (read in a summary only); what is one linear layer of attention,
the fixed entry and the average over tokens are choices made here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.lab.control_networks import small_resnet
from ncollapse.lab.models import conv, mlp, topped

TINY = 1e-12


class UnitNorm(nn.Module):
    """Layer normalisation to norm 1: (h - mean h) / ‖h - mean h‖ over the last dimension, nothing
    learnt; as features of `ncollapse.theory.problems.GUFM` are."""

    def forward(self, h: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        return functional.normalize(h - h.mean(-1, keepdim=True), dim=-1, eps=TINY)


class Residual(nn.Module):
    """h + s(A h + a) with one linear layer, h + B s(A h + a) + b with two; s = ReLU."""

    def __init__(self, width: int, linears: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width) if linears == 2 else nn.Identity()

    def forward(self, h: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        step: Tensor = self.second(functional.relu(self.first(h)))
        return h + step


class Attention(nn.Module):
    """h + softmax(Q h (K h)ᵀ / √width) V h with one linear layer on the way of the values; with two
    an output layer after it. One head, every token sees all."""

    def __init__(self, width: int, linears: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width) if linears == 2 else nn.Identity()

    def forward(self, h: Float[Tensor, "... tokens width"]) -> Float[Tensor, "... tokens width"]:
        scores = self.query(h) @ self.key(h).mT / math.sqrt(h.shape[-1])
        step: Tensor = self.output(scores.softmax(-1) @ self.value(h))
        return h + step


class Tokens(nn.Module):
    """The entry of transformers: token t of a sample, p_t, becomes E_t p_t, where [E_1 … E_T] is a
    fixed random map with orthonormal rows or columns (a buffer, not trained). Tokens stay apart by
    their places, and distances of samples are kept where width ≥ T · dim."""

    def __init__(self, num_tokens: int, dim: int, width: int) -> None:
        super().__init__()
        whole = _orthogonal(width, num_tokens * dim)
        self.embedding: Tensor
        self.register_buffer("embedding", whole.unflatten(1, (num_tokens, dim)).permute(1, 2, 0))

    def forward(self, inputs: Float[Tensor, "samples tokens dim"]) -> Tensor:
        return (inputs.unsqueeze(-2) @ self.embedding).squeeze(-2)


class Mean(nn.Module):
    """The average over tokens."""

    def forward(self, h: Float[Tensor, "... tokens width"]) -> Float[Tensor, "... width"]:
        return h.mean(-2)


class Map(nn.Module):
    """The entry of residual networks whose width is not that of the inputs: a fixed random map with
    orthonormal rows or columns (a buffer, not trained)."""

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        self.map: Tensor
        self.register_buffer("map", _orthogonal(width, num_features).T)

    def forward(self, inputs: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples width"]:
        return inputs @ self.map


def residual(
    num_features: int,
    width: int,
    num_classes: int,
    depth: int,
    *,
    linears: int = 1,
    norm: bool = True,
    bias: bool = False,
    seed: int = 0,
) -> nn.Sequential:
    """L-RN1 (linears=1) and L-RN2 (2): head ∘ norm ∘ block_L ∘ … ∘ block_1 ∘ entry, depth = L.

    Inputs (samples, num_features). h_0 = x where width is num_features, else a fixed map of x.
    norm: `UnitNorm`, or nothing. bias: of the head alone. The global random state is left as it
    was. Raises ValueError for sizes below 1, and linears other than 1 or 2.
    """
    _check(num_features=num_features, width=width, num_classes=num_classes, depth=depth)
    _check_linears(linears)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        same = num_features == width
        model = nn.Sequential()
        model.add_module("entry", nn.Identity() if same else Map(num_features, width))
        model.add_module("blocks", nn.Sequential(*(Residual(width, linears) for _ in range(depth))))
        _finish(model, width, num_classes, norm, bias)
        return model


def transformer(
    num_tokens: int,
    dim: int,
    width: int,
    num_classes: int,
    depth: int,
    *,
    linears: int = 1,
    attention: int | None = None,
    norm: bool = True,
    bias: bool = False,
    seed: int = 0,
) -> nn.Sequential:
    """L-Tx1 (linears=1) and L-Tx2 (2): an attention and an MLP block, each residual, L times.

    Inputs (samples, num_tokens, dim); see `Tokens` for h_0 (samples, num_tokens, width). Tokens are
    averaged before `norm`. attention: linear layers of attention blocks, where other than those of
    the MLP blocks. Else as `residual`.
    """
    _check(num_tokens=num_tokens, dim=dim, width=width, num_classes=num_classes, depth=depth)
    attending = linears if attention is None else attention
    _check_linears(linears, attending)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, blocks = nn.Sequential(), nn.Sequential()
        model.add_module("entry", Tokens(num_tokens, dim, width))
        for _ in range(depth):
            block = nn.Sequential()
            block.add_module("attention", Attention(width, attending))
            block.add_module("mlp", Residual(width, linears))
            blocks.append(block)
        model.add_module("blocks", blocks)
        model.add_module("pool", Mean())
        _finish(model, width, num_classes, norm, bias)
        return model


def flat(model: nn.Sequential, num_tokens: int) -> nn.Sequential:
    """A transformer on flat samples (samples, T · dim): `cut`, which makes T tokens of equal parts
    of each, before its other modules, which stay those of `model`."""
    parts = nn.Sequential()
    parts.add_module("cut", nn.Unflatten(1, (num_tokens, -1)))
    for name, part in model.named_children():
        parts.add_module(name, part)
    return parts


# ---- networks of the same recipe on digits ------------------------------------------------------
RELU, PLAIN, LINEAR = "ReLU, BatchNorm", "ReLU, none", "linear, BatchNorm"


def free_mlp(width: int, **settings: Any) -> nn.Sequential:
    """Three hidden layers of a width; features of either sign and no bias in the head, as theory's
    free features have it. settings: of `lab.models.mlp`."""
    return mlp(64, (width,) * 3, 10, bias=False, last_relu=False, **settings)


def equals(
    *, width: int, features: int, channels: Sequence[int], resnet: int, blocks: int, seed: int = 0
) -> dict[str, nn.Sequential]:
    """Networks on flat digits by activation and normalisation or by kind; features of either sign,
    no bias in the head. width: of MLPs. features: entering the head of CNN (of these channels)
    and ResNet (`small_resnet` of that width). blocks: of the transformer, four tokens, L-Tx2."""

    def top(body: nn.Module) -> nn.Sequential:
        return topped(body, features, 10, seed=seed)

    return {
        RELU: free_mlp(width, seed=seed),
        "GELU, BatchNorm": free_mlp(width, activation=nn.GELU, seed=seed),
        "tanh, BatchNorm": free_mlp(width, activation=nn.Tanh, seed=seed),
        LINEAR: free_mlp(width, activation=nn.Identity, seed=seed),
        "ReLU, LayerNorm": free_mlp(width, batch_norm=False, layer_norm=True, seed=seed),
        PLAIN: free_mlp(width, batch_norm=False, seed=seed),
        "CNN": top(conv(features, channels, seed=seed)),
        "ResNet": top(small_resnet(features, resnet, seed)),
        "transformer": flat(transformer(4, 16, 64, 10, blocks, linears=2, seed=seed), 4),
    }


def _finish(model: nn.Sequential, width: int, num_classes: int, norm: bool, bias: bool) -> None:
    model.add_module("norm", UnitNorm() if norm else nn.Identity())
    model.add_module("head", nn.Linear(width, num_classes, bias=bias))


def _orthogonal(rows: int, columns: int) -> Tensor:
    return torch.as_tensor(nn.init.orthogonal_(torch.empty(rows, columns)))


def _check(**sizes: int) -> None:
    low = [f"{name}={value}" for name, value in sizes.items() if value < 1]
    if low:
        raise ValueError(f"{', '.join(low)}; at least 1 is needed")


def _check_linears(*linears: int) -> None:
    for count in linears:
        if count not in (1, 2):
            raise ValueError(f"linears={count}; a block has 1 linear layer or 2")
