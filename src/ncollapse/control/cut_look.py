"""One pass of a whole model that tells where it may be cut: calls, axes, what was used by then."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ncollapse.collect.tap.batches import Batch
from ncollapse.collect.tap.head_find import plain
from ncollapse.collect.tap.layouts import AmbiguousError, Layout, Layouts, said_layout
from ncollapse.collect.tap.listener import Listener
from ncollapse.collect.tap.outputs import logits_of, unnested
from ncollapse.collect.tap.pooling import Pool, Shape, first_tensor, needs_layout, pool
from ncollapse.collect.tap.preserve import preserved
from ncollapse.collect.tap.select import blocks
from ncollapse.collect.tap.stream import device_of, explained
from ncollapse.collect.tap.taps import CALL, has_class_token
from ncollapse.collect.tap.used import Used, unused


@dataclass(frozen=True, eq=False)
class Look:
    """What a pass showed at one call of a layer: features (samples, dim), how they were pooled and
    by which axes, the modules that were of no use until then, blocks of the model and those that
    had begun, and how many classes the model's logits tell apart."""

    call: int
    calls: int
    features: Tensor
    pooling: str
    layout: Layout | None
    class_token: bool
    idle: Mapping[str, nn.Module]
    blocks: int
    blocks_left: int
    classes: int | None


@dataclass(frozen=True, eq=False)
class _Call:
    features: Tensor
    pooling: str
    layout: Layout | None
    used: frozenset[int]
    ended: frozenset[str]


def call_of(layer: str) -> int:
    """Which call of its module a layer is, 1 where it does not say, 0 where that is no number."""
    _, mark, number = layer.partition(CALL)
    return (int(number) if number.isdecimal() else 0) if mark else 1


def look(model: nn.Module, layer: str, call: int, batch: Batch, how: Pool) -> Look:
    """Run the model once, whole, and leave it as it was. call: which of the layer's calls counts.
    Raises ValueError for layers that are never reached, calls that are not
    made, and outputs that cannot be pooled."""
    module = model.get_submodule(layer)
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(f"layer {layer!r} is TorchScript, which runs unheard; cut around it")
    shape = Shape(batch.labels.numel(), batch.mask, has_class_token(model))
    named = dict.fromkeys(blocks(model))
    axes, used = Layouts(model), Used(model)
    calls: list[_Call | ValueError] = []
    ended: set[str] = set()

    def answered(output: Any) -> None:
        try:
            calls.append(_Call(*_pooled(output), used.seen(), frozenset(ended)))
        except ValueError as error:
            calls.append(error)

    def _pooled(output: Any) -> tuple[Tensor, str, Layout | None]:
        value = first_tensor(output)
        if value is None:
            raise ValueError(f"the output is a {type(output).__name__} without tensors")
        value, real = unnested(value)
        given = shape if real is None else replace(shape, mask=real)
        layout = said_layout(how)
        if layout is None and needs_layout(value, how, given):
            try:
                layout = axes.layout(layer, module, value, given.samples, given.mask)
            except AmbiguousError:
                if how not in ("cls", "last", "flatten"):
                    raise
        return (*pool(value, how, given, layout), layout)

    with preserved(model), Listener(model) as listener:
        axes.open(listener)
        for name in named:
            part = model.get_submodule(name)
            if not isinstance(part, torch.jit.ScriptModule):
                listener.leaving(part, partial(_note, ended, name))
        listener.leaving(module, answered)
        with torch.no_grad(), explained(batch.inputs), used:
            output = batch.run(model, device_of(model))
        listener.check()
    if not calls:
        raise ValueError(
            f"layer {layer!r} is never reached: the forward pass of {type(model).__name__} does "
            "not call it (a container, or an unused branch); name one of its children, or the "
            "module that calls it"
        )
    if call > len(calls):
        raise ValueError(
            f"layer '{layer}{CALL}{call}' is never reached: {layer!r} is called {len(calls)} times "
            "in a pass"
        )
    chosen = calls[call - 1]
    if isinstance(chosen, ValueError):
        raise ValueError(f"layer {layer!r}: {chosen}") from chosen
    logits = logits_of(output)
    begun = [name for name in named if name in chosen.ended or layer.startswith(f"{name}.")]
    return Look(
        call=call,
        calls=len(calls),
        features=chosen.features,
        pooling=chosen.pooling,
        layout=chosen.layout,
        class_token=shape.class_token,
        idle=unused(model, chosen.used, layer),
        blocks=len(named),
        blocks_left=len(begun),
        classes=None if logits is None else max(plain(logits).shape[-1], 2),
    )


def _note(ended: set[str], name: str, _: Any) -> None:
    ended.add(name)


class CutAwayError(ValueError):
    """A part was called that a cut model does not hold."""


class CutAway(nn.Module):
    """What stands in the place of a part that a cut model has no use for."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, *_: Any, **__: Any) -> NoReturn:
        raise CutAwayError(f"{self.name!r} was cut away, as nothing used it up to the cut")

    def extra_repr(self) -> str:
        return self.name


def shortened(model: nn.Module, idle: Mapping[str, nn.Module]) -> nn.Module:
    """A deep copy in which the idle parts, never copied, are `CutAway`. Raises ValueError for
    models that cannot be copied."""
    memo: dict[int, Any] = {id(module): CutAway(name) for name, module in idle.items()}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:200]}); cutting works on a copy"
        ) from error


def refuse(model: nn.Module, layer: str, taken: str) -> NoReturn:
    """Raises ValueError that says what is wrong with the layer, and names the nearest."""
    if layer == taken:
        raise ValueError(
            f"layer {layer!r} is what enters the classifier: nothing but that lies after it; name "
            "a module before it"
        )
    names = [name for name, _ in model.named_modules() if name and name != taken]
    near = difflib.get_close_matches(layer, names, n=1, cutoff=0.4)
    listed = (blocks(model) or names)[:12]
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"layer {layer!r} is no module of {type(model).__name__}; {hint}it has "
        f"{', '.join(listed)}: name one of those"
    )
