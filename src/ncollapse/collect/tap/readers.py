"""Readers: which weight reads the output of each tapped layer, by the order of the first pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ncollapse.collect.tap.layouts import TRANSFORMERS
from ncollapse.collect.tap.listener import Listener

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class Reader:
    """A weight (out, d) that reads what a layer leaves, and the name of its module."""

    name: str
    weight: Tensor


@dataclass
class Readers:
    """Hears every module with a weight during one pass; `of` then tells who reads a layer.

    A layer's reader is the first weight called after the layer has returned that reads as many
    features as the layer leaves, if no tapped layer with weights of its own returned in between.
    Products that are no module of their own are not heard, nor is what runs inside a transformer
    layer of torch, whose attention's input projection stands for it.
    """

    model: nn.Module
    _called: list[tuple[str, bool]] = field(default_factory=list, init=False)

    def open(self, listener: Listener) -> None:
        """Hear the pass to come; hooks go with the listener's."""
        self._weights = _weights(self.model)
        self._modules = dict(self.model.named_modules())
        for name in self._weights:
            listener.leaving(self._modules[name], partial(self._hear, name))

    def _hear(self, name: str, _: object) -> None:
        self._called.append((name, False))

    def left(self, layer: str) -> None:
        """A tapped layer has returned."""
        self._called.append((layer, True))

    def forget(self) -> None:
        self._called = []

    def of(self, layer: str, width: int) -> Reader | None:
        """Who reads the first output of a layer that is `width` wide."""
        place = self._called.index((layer, True)) if (layer, True) in self._called else None
        if place is None:
            return None
        for name, tapped in self._called[place + 1 :]:
            if name == layer or name.startswith(f"{layer}."):
                continue
            if tapped:
                if any(p.dim() > 1 for p in self._modules[name].parameters()):
                    return None
                continue
            weight = self._weights[name]
            if weight.shape[1] == width:
                return Reader(name, weight)
        return None


def _weights(model: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Weights (out, in) by the name of the module that multiplies by them."""
    own = _weight(model)
    found = {} if own is None or not prefix else {prefix: own}
    if own is not None:
        return found
    for name, child in model.named_children():
        found |= _weights(child, f"{prefix}.{name}" if prefix else name)
    return found


def _weight(module: nn.Module) -> Tensor | None:
    if isinstance(module, TRANSFORMERS):
        attention = getattr(module, "self_attn", None)
        return None if attention is None else _weight(attention)
    if isinstance(module, nn.MultiheadAttention):
        return module.in_proj_weight if module.in_proj_weight is not None else module.q_proj_weight
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or is_lazy(weight):
        return None
    if isinstance(module, CONVOLUTIONS):
        if module.groups != 1:
            return None
        return weight.transpose(0, 1).flatten(1).T
    if isinstance(module, nn.Linear):
        return weight
    # Of transformers' own: (in, out).
    return weight.T if type(module).__name__ == "Conv1D" and weight.dim() == 2 else None
