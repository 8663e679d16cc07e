"""Layers that a head can be, each as a matrix: what enters it (…, dim), what it makes (…, classes).

Linear layers; convolutions that see one place at a time, or all at once; and modules of one's own
that hold one matrix. A place of a map is read like a token.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from ncollapse.collect.tap.preserve import evaluating

Matrix = tuple[Tensor, Tensor | None]


def whole(tensor: Tensor) -> Tensor:
    """A parameter in full: gathered from all ranks where it is sharded (a collective call)."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def linears(module: nn.Module) -> Iterator[nn.Module]:
    """Linear layers inside, last first."""
    return (part for part in reversed(list(module.modules())) if isinstance(part, nn.Linear))


def others(module: nn.Module) -> Iterator[nn.Module]:
    """Other layers inside that may be a head, last first."""
    for part in reversed(list(module.modules())):
        if _is_pointwise(part) or own_matrix(part) is not None:
            yield part


def _is_pointwise(module: nn.Module) -> bool:
    """A convolution whose places do not mix but where its kernel covers all of them."""
    return (
        isinstance(module, _ConvNd)
        and not module.transposed
        and module.groups == 1
        and module.padding in ((0,) * len(module.kernel_size), "valid")
    )


def own_matrix(module: nn.Module) -> str | None:
    """The name of the one matrix that a module of no known kind holds itself."""
    # What TorchScript holds takes no hooks.
    known = (nn.Linear, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, _ConvNd, torch.jit.ScriptModule)
    if isinstance(module, known) or list(module.children()):
        return None
    own = {name: p for name, p in module._parameters.items() if p is not None}
    held = [name for name, p in own.items() if not is_lazy(p) and p.dim() == 2]
    return held[0] if len(held) == 1 else None


def parts_of(module: nn.Module, entered: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """What entered and what was made as (samples, dim) and (samples, classes), or with tokens, or
    places, between."""
    if not isinstance(module, _ConvNd):
        return entered, made
    if made.dim() > 2 and made.shape[2:].numel() == 1:
        return entered.flatten(1), made.flatten(1)
    if set(module.kernel_size) == {1} and set(module.stride) == {1}:
        return entered.flatten(2).transpose(1, 2), made.flatten(2).transpose(1, 2)
    return entered, made


def matrices_of(module: nn.Module, dim: int, classes: int | None) -> list[Matrix]:
    """What (weight (classes, dim), bias (classes) or None) a head layer may be: none where its
    size is another, two where a square matrix of one's own may be read either way. classes: None
    for however many there are."""
    # Some weights are made when they are asked for, and counted in training mode; others are
    # written into when the mode changes back, so those are copied.
    changes = any(part.training for part in module.modules())
    with evaluating(module):
        name = own_matrix(module)
        weight = module._parameters[name] if name else module.weight
        bias = getattr(module, "bias", None)
        assert isinstance(weight, Tensor)
        weight = whole(weight).detach()
        weight = weight.clone() if changes else weight
    shift = whole(bias).detach() if isinstance(bias, Tensor) else None
    weight = weight.flatten(1) if isinstance(module, _ConvNd) else weight
    return matrices_from(weight, shift, dim, classes, either=bool(name))


def matrices_from(
    weight: Tensor, bias: Tensor | None, dim: int, classes: int | None, *, either: bool
) -> list[Matrix]:
    """Those of a weight, or of `either` that or its transpose, that have the size."""
    ways = (weight, weight.T) if either and weight.dim() == 2 else (weight,)
    return [
        (way, bias if bias is not None and bias.shape == way.shape[:1] else None)
        for way in ways
        if way.shape[1:] == (dim,) and classes in (None, way.shape[0])
    ]
