"""Layers that a head can be, each as a matrix: what enters it (…, dim), what it makes (…, classes).

Linear layers, quantised ones too; convolutions that see one place at a time, or all at once;
modules of one's own that hold one matrix; and wrappers of a layer (adapters, weights of few bits),
of which `probe` tells the matrix. A place of a map is read like a token.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from ncollapse.collect.tap.preserve import evaluating

Matrix = tuple[Tensor, Tensor | None]
FEW_BITS = (torch.int8, torch.uint8, torch.int16, torch.int32)


def whole(tensor: Tensor) -> Tensor:
    """A parameter in full: gathered from all ranks where it is sharded (a collective call)."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def linears(module: nn.Module) -> Iterator[nn.Module]:
    """Layers of nn.Linear inside, last first."""
    return (part for part in reversed(list(module.modules())) if isinstance(part, nn.Linear))


def linear_maps(module: nn.Module) -> Iterator[nn.Module]:
    """Linear layers inside, quantised ones too, last first; one that an adapter holds as its
    `base_layer` is given as the adapter, which adds to it."""
    inside: set[nn.Module] = set()
    found = []
    for part in module.modules():
        if part in inside:
            continue
        if wraps(part):
            inside.update(part.modules())
        if isinstance(part, nn.Linear) or wraps(part) or is_quantised(part):
            found.append(part)
    return reversed(found)


def others(module: nn.Module) -> Iterator[nn.Module]:
    """Other layers inside that may be a head, last first."""
    for part in reversed(list(module.modules())):
        if _is_pointwise(part) or own_matrix(part) is not None or _holds_few_bits(part):
            yield part


def wraps(module: nn.Module) -> bool:
    """Whether a module stands around a linear layer and adds to it, as adapters (PEFT) do."""
    return isinstance(getattr(module, "base_layer", None), nn.Linear)


def is_quantised(module: nn.Module) -> bool:
    """Whether this is a quantised linear layer of torch, whose weight is asked for by a call."""
    sizes = hasattr(module, "in_features") and hasattr(module, "out_features")
    scripted = isinstance(module, torch.jit.ScriptModule)
    return sizes and not scripted and callable(getattr(module, "weight", None))


def _holds_few_bits(module: nn.Module) -> bool:
    """Whether a module without parts holds a matrix of integers, as layers of few bits do."""
    if list(module.children()) or isinstance(module, torch.jit.ScriptModule):
        return False
    held = [one for one in module._buffers.values() if one is not None and not is_lazy(one)]
    return any(one.dim() == 2 and one.dtype in FEW_BITS for one in held)


def _is_pointwise(module: nn.Module) -> bool:
    """A convolution whose places do not mix but where its kernel covers all of them."""
    return (
        isinstance(module, _ConvNd)
        and not module.transposed
        and module.groups == 1
        and module.padding in ((0,) * len(module.kernel_size), "valid")
    )


def own_matrix(module: nn.Module) -> str | None:
    """The name of the one matrix that a module of no known kind holds itself, as a parameter or, of
    none, as a buffer."""
    # What TorchScript holds takes no hooks.
    known = (nn.Linear, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, _ConvNd, torch.jit.ScriptModule)
    if isinstance(module, known) or any(_tensors(part) for part in module.children()):
        return None
    for kind in (module._parameters, module._buffers):
        held = [name for name, one in kind.items() if _is_matrix(one)]
        if held:
            return held[0] if len(held) == 1 else None
    return None


def _is_matrix(value: Tensor | None) -> bool:
    if value is None or is_lazy(value) or value.dim() != 2:
        return False
    return value.is_floating_point() and value.numel() > 1


def _tensors(module: nn.Module) -> bool:
    return any(True for held in (module.parameters(), module.buffers()) for _ in held)


def parts_of(module: nn.Module, entered: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """What entered and what was made as (samples, dim) and (samples, classes), or with tokens, or
    places, between."""
    if entered.is_quantized or made.is_quantized:
        entered, made = (one.dequantize() if one.is_quantized else one for one in (entered, made))
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
        weight, bias = getattr(module, name or "weight", None), getattr(module, "bias", None)
        if is_quantised(module):
            weight, bias = module.weight(), bias() if callable(bias) else bias  # type: ignore[operator]
        if wraps(module) or not isinstance(weight, Tensor) or weight.dtype in FEW_BITS:
            return []
        weight = whole(weight).detach()
        weight = weight.dequantize() if weight.is_quantized else weight
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
