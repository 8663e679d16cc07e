"""Taps: hooks on any modules of a model that read features while it runs, and leave no trace."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.tap.batches import Tokens
from ncollapse.collect.tap.given import module_of
from ncollapse.collect.tap.head_find import HeadNotFoundError, Outputs, plain
from ncollapse.collect.tap.head_tap import HeadTap
from ncollapse.collect.tap.heads import Head
from ncollapse.collect.tap.layouts import AmbiguousError, Layout, Layouts, said_layout
from ncollapse.collect.tap.listener import Listener
from ncollapse.collect.tap.outputs import logits_of, outputs_of, unnested
from ncollapse.collect.tap.pooling import (
    Pool,
    Shape,
    check_pool,
    first_tensor,
    needs_layout,
    pool,
)
from ncollapse.collect.tap.readers import Reader, Readers
from ncollapse.collect.tap.select import Layers, select

log = logging.getLogger("ncollapse")
HEAD = "head"
# Between the name of a module and the number of its call, from the second one on.
CALL = "#"
OTHERWISE = (
    ", or head=False and layers=… to measure other layers, or arrays by "
    "nc.measure_features(features, labels, weight=W)"
)
CLASS_TOKENS = ("cls_token", "class_token", "cls_embed", "class_embedding", "cls_embedding")


class Taps:
    """Features of chosen layers, and of the layer before the classifier, at every forward pass.

    `head` is a name or module, None to find it, False for none; the reading is called `head` and
    is what enters the classifier, checked on the first batch: head(features) == logits. `layers`
    are names, globs or a predicate; their outputs are pooled by `pool` (one way, or a dict by
    layer name), `channels` says by layer which axis was taken for channels, and why; `readers`
    which weight reads it next. A module that a pass calls several times is a layer a call: NAME,
    then NAME#2 and so on. After the first batch layers stand in the order in which they return.
    Hooks consume at once, so writing in place later cannot change what was read, and are removed on
    exit.

    >>> with Taps(model, layers="*") as taps:              # doctest: +SKIP
    ...     taps.begin(samples=32)
    ...     logits = model(inputs)
    ...     features = taps.end(logits)                    # {"head": (32, d), "layer1.0": …}

    Raises ValueError for layers or heads that do not exist, taps that never fire, heads that do
    not make the logits, and outputs that cannot be pooled or whose axes nothing tells apart.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Layers = None,
        *,
        head: str | nn.Module | bool | None = None,
        pool: Pool | dict[str, Pool] = "auto",
    ) -> None:
        self._listener = Listener(module_of(model))
        self._listener.paused = True  # Nothing is read but between `begin` and `end`.
        self.model = self._listener.model
        self._where: dict[str, Any] = {"layers": layers, "pool": pool}
        self._pools = pool if isinstance(pool, dict) else {}
        self._pool = "auto" if isinstance(pool, dict) else pool
        for how in (self._pool, *self._pools.values()):
            check_pool(how)
        self.modules, self._exact = select(self.model, layers)
        # That name is taken: what enters the classifier is called so.
        self.modules.pop(HEAD, None)
        unknown = sorted(set(self._pools) - set(self.modules))
        if unknown:
            raise ValueError(
                f"pool names the layer {unknown[0]!r}, which is not among layers; there are "
                f"{', '.join(list(self.modules)[:12]) or 'none'}: name it in layers= too"
            )
        self.wants_head = head is not False
        self._head_tap = HeadTap(self._listener, head, otherwise=OTHERWISE)
        if not self.wants_head and not self.modules:
            raise ValueError(
                "head=False and no layers: nothing to measure; pass layers='*' for every block, or "
                "names of layers"
            )
        self.pooling: dict[str, str] = {}
        self.channels: dict[str, str] = {}
        self.readers: dict[str, Reader] = {}
        self._next = Readers(self.model) if self.modules else None
        # Names of what was read, in the order of the first batch.
        self._fired: tuple[str, ...] | None = None
        # By layer and number of axes: one batch tells for all.
        self._layouts: dict[tuple[str, int], Layout] = {}
        self._axes = Layouts(self.model) if self.modules else None
        self.batches = 0
        self._found: dict[str, Tensor] = {}
        self._shape: Shape | None = None
        self._class_token = has_class_token(self.model)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of what is read, the head's features last."""
        named = self.modules if self._fired is None else self._fired
        return (*named, *((HEAD,) if self.wants_head else ()))

    @property
    def by_pattern(self) -> tuple[str, ...]:
        """Layers that no one named: what cannot be read of those is left out."""
        named = (name for name in self.layers if name != HEAD)
        return tuple(name for name in named if called(name) not in self._exact)

    @property
    def head(self) -> Head | None:
        """The classifier, known after the first batch."""
        return self._head_tap.head

    @head.setter
    def head(self, head: Head | None) -> None:
        self._head_tap.head = head

    # ---- hooks --------------------------------------------------------------------------------
    def __enter__(self) -> Taps:
        if self._axes is not None and not self.modules.keys() <= self.pooling.keys():
            self._axes.open(self._listener)
        if self._next is not None and self._fired is None:
            self._next.open(self._listener)
        for name, module in list(self.modules.items()):
            if isinstance(module, torch.jit.ScriptModule):
                self._refuse(name, "TorchScript runs its layers unseen; tap the module around it")
            else:
                self._listener.leaving(module, partial(self._read, name))
        self._head_tap.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._clear(None)

    def _clear(self, shape: Shape | None) -> None:
        self._found, self._shape = {}, shape
        self._head_tap.forget(None if shape is None else shape.tokens)
        if self._axes is not None:
            self._axes.forget()
        if self._next is not None:
            self._next.forget()
        self._listener.paused = shape is None

    def _read(self, name: str, output: Any) -> None:
        if name not in self.modules or self._shape is None:
            return
        how = self._pools.get(name, self._pool)
        tensor = first_tensor(output)
        try:
            if tensor is None:
                raise ValueError(f"the output is a {type(output).__name__} without tensors")
            tensor, real = unnested(tensor)
            shape = self._shape if real is None else replace(self._shape, mask=real)
            layout = self._layout(name, tensor, how, shape)
            calls = sum(called(one) == name for one in self._found)
            layer = name if calls == 0 else f"{name}{CALL}{calls + 1}"
            self._found[layer], self.pooling[layer] = pool(tensor, how, shape, layout)
            if layer != name and name in self.channels:
                self.channels[layer] = self.channels[name]
            if calls == 0 and self._next is not None:
                self._next.left(name)
        except ValueError as error:
            self._refuse(name, str(error))

    def _layout(self, name: str, value: Tensor, how: Pool, shape: Shape) -> Layout | None:
        """Which axis is which, by the first batch of so many axes."""
        key = name, value.dim()
        if needs_layout(value, how, shape) and key not in self._layouts:
            assert self._axes is not None
            try:
                found = self._axes.layout(
                    name, self.modules[name], value, shape.samples, shape.mask
                )
            except AmbiguousError:
                if how not in ("cls", "last", "flatten"):
                    raise
                return None
            self._layouts[key] = found
        layout = said_layout(how) or self._layouts.get(key)
        if layout is not None and value.dim() > 2 and name not in self.channels:
            self.channels[name] = layout.described(value.shape)
            log.info("tap  %s: channels are %s", name, self.channels[name])
        return layout

    def _refuse(self, name: str, reason: str) -> None:
        if name in self._exact:
            raise ValueError(f"layer {name!r}: {reason}")
        # A pattern takes what can be taken; what was asked for by name must be there.
        log.warning("layer %r is left out: %s", name, reason)
        self.modules.pop(name, None)
        self._found = {one: kept for one, kept in self._found.items() if called(one) != name}

    def leave_out(self, names: Iterable[str], reason: str) -> None:
        """Tap those layers no more. Raises ValueError where one was given by its name."""
        for name in names:
            self._refuse(name, reason)

    # ---- a batch ------------------------------------------------------------------------------
    def begin(self, samples: int, mask: Tensor | None = None, tokens: Tokens | None = None) -> None:
        """Call before the forward pass: samples in the batch, mask of real tokens, and which
        tokens are samples themselves."""
        self._clear(Shape(samples, mask, self._class_token, tokens))

    @torch.no_grad()
    def end(self, output: Any) -> dict[str, Tensor]:
        """Call with what the model returned: features (samples, dim) by layer."""
        shape, self._shape = self._shape, None
        self._listener.paused = True
        if shape is None:
            raise ValueError("Taps.end was called without Taps.begin before the forward pass")
        self._listener.check()
        self._check_fired()
        if self.wants_head:
            self._found[HEAD] = self._head_features(output, shape)
        self._settle()
        self.batches += 1
        return self._found

    def _settle(self) -> None:
        """Layers as the first batch has called them, which later ones must do too."""
        fired = tuple(name for name in self._found if name != HEAD)
        if self._fired is None:
            self._fired = fired
            for name in fired:
                reader = (
                    None
                    if self._next is None or called(name) != name
                    else self._next.of(name, int(self._found[name].shape[1]))
                )
                if reader is not None and f"{name}{CALL}2" not in fired:
                    self.readers[name] = reader
        elif set(fired) != set(self._fired):
            odd = sorted(set(fired) ^ set(self._fired))
            raise ValueError(
                f"batch {self.batches + 1} called {called(odd[0])!r} another number of times than "
                "the first one did; a model that repeats layers as its input asks cannot be "
                "measured there"
            )

    def _check_fired(self) -> None:
        for name in [name for name in self.modules if name not in self._found]:
            if self.batches:
                raise ValueError(
                    f"the tap on {name!r} did not fire in batch {self.batches + 1}, though it did "
                    "before; a model that skips layers cannot be measured there"
                )
            self._refuse(
                name,
                "its tap did not fire: the forward pass does not call this module (a container, or "
                "an unused branch); tap one of its children, or the module that calls it",
            )

    def _head_features(self, output: Any, shape: Shape) -> Tensor:
        outputs = outputs_of(output)
        if not outputs:
            raise ValueError(
                "no logits in what the model returned; a tensor, .logits or a tuple or mapping "
                "that holds them is needed, or pass head=False and layers=…"
            )
        first = self.head is None
        if self.head is None:
            outputs = _of_the_batch(outputs, shape)
        elif not self._head_tap.heard:
            raise ValueError(
                f"the tap on {self.head.name!r} fired 0 times in batch {self.batches + 1}; compile "
                "the model after measuring, or pass head=NAME of the layer that makes the logits"
            )
        features = self._head_tap.features(outputs, shape.tokens)
        if first and self.head is not None:
            self._drop_logits(self.head.name)
            self.pooling[HEAD] = "none"
        return features

    def logits(self, output: Any) -> Tensor | None:
        """The logits in what the model returned."""
        return logits_of(output, None if self.head is None else self.head.output)

    def classes_of(self, output: Any) -> int | None:
        """How many classes the logits in what the model returned tell apart."""
        logits = self.logits(output)
        return None if logits is None else max(plain(logits).shape[-1], 2)

    # ---- a head that is no layer --------------------------------------------------------------
    def products(self) -> AbstractContextManager[Any]:
        """What a forward pass of our own runs in: it hears a head that no hook tells of."""
        return self._head_tap.products() if self._head_tap.wants_products else nullcontext()

    def once_more(self, error: ValueError) -> bool:
        """After `end` raised: whether the same pass within `products` may find the head."""
        return isinstance(error, HeadNotFoundError) and self._head_tap.try_products()

    def _drop_logits(self, head: str) -> None:
        """A pattern that reaches the classifier means features, not the logits it returns."""
        for name in list(self.modules):
            if name not in self._exact and (name == head or head.startswith(f"{name}.")):
                del self.modules[name]
                self._found = {k: v for k, v in self._found.items() if called(k) != name}

    # ---- a model that changes -----------------------------------------------------------------
    def refresh(self) -> None:
        """Read the head's weights anew: they were copied at the first batch."""
        self._head_tap.refresh()

    @property
    def replaced(self) -> bool:
        """Whether another module, or none, stands in the head's place now."""
        return self._head_tap.replaced

    def renewed(self) -> Taps:
        """The same taps anew, on the head of the old one's name where the model still has that."""
        name = None if self.head is None else self.head.name
        known = name in dict(self.model.named_modules())
        head: str | bool | None = (name if known else None) if self.wants_head else False
        return Taps(self.model, head=head, **self._where)


def has_class_token(model: nn.Module) -> bool:
    """Whether a model puts a class token first, by the name of a parameter."""
    return any(name.rpartition(".")[2] in CLASS_TOKENS for name, _ in model.named_parameters())


def called(layer: str) -> str:
    """The name of the module that a layer is a call of."""
    return layer.partition(CALL)[0]


def _of_the_batch(outputs: Outputs, shape: Shape) -> Outputs:
    """Those that may be logits of the batch's samples. Raises ValueError for none."""
    tokens = shape.tokens
    logits = outputs[0][1]
    if tokens is not None:
        found = [
            (place, one)
            for place, one in outputs
            if one.dim() == 3 and one.shape[:2] == (tokens.sequences, tokens.time)
        ]
        if found:
            return found
        raise ValueError(
            f"the model returned logits of shape {tuple(logits.shape)} for "
            f"{tokens.sequences} sequences of {tokens.time} tokens; (sequences, time, "
            "classes) is needed, that of a model that predicts every token"
        )
    found = [
        (place, one)
        for place, one in outputs
        if plain(one).dim() == 2 and one.shape[0] == shape.samples
    ]
    if found:
        return found
    hint = ""
    if logits.dim() == 3:
        hint = (
            "; a language model is measured with tokens=True, a tagger of tokens with tokens='same'"
        )
    raise ValueError(
        f"the model returned logits of shape {tuple(logits.shape)} for {shape.samples} "
        f"labels; (samples, classes) is needed{hint}"
    )
