"""Listener: whoever hears the modules of a model while it runs does so here, by hooks.

No other file puts hooks on a model, or on an optimizer. They change nothing that the model
computes, `close` takes them off, and copies and pickles of the model carry none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ncollapse.collect.tap.heads import unwrap

When = Callable[[nn.Module], bool]


def always(model: nn.Module) -> bool:
    """Every forward pass."""
    return True


def in_training(model: nn.Module) -> bool:
    """Forward passes in training mode with gradients on."""
    return model.training and torch.is_grad_enabled()


def in_evaluation(model: nn.Module) -> bool:
    """Forward passes in eval mode."""
    return not model.training


class Listener:
    """Hears modules of a model from the call that names them on until `close`, or inside a `with`.

    `when` tells, of the whole model, which forward passes are heard: `always`, `in_training`,
    `in_evaluation`; `paused` silences all. With `gradients` what enters a module is handed on with
    its graph, else as a detached copy, which writing in place later cannot change. Wrappers for
    compiling and for parallel training are looked through (`model` is what they wrap). A read
    that fails never ends the forward pass: `check` raises its error afterwards.
    """

    def __init__(self, model: nn.Module, when: When = always, *, gradients: bool = False) -> None:
        self.model = unwrap(model)
        self.gradients, self.paused = gradients, False
        self._when = when
        self._handles: list[RemovableHandle] = []
        self._error: Exception | None = None

    @property
    def listening(self) -> bool:
        """Whether a forward pass made now would be heard."""
        return not self.paused and self._when(self.model)

    def entering(self, module: nn.Module, read: Callable[[Tensor, Any], None]) -> RemovableHandle:
        """After each call of a module: read(its first argument, what it returned).

        Calls whose first argument is no tensor are passed over.
        """

        def heard(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if self.listening and inputs and isinstance(inputs[0], Tensor):
                entered = inputs[0] if self.gradients else inputs[0].detach().clone()
                self._safely(read, entered, output)

        return self._kept(module.register_forward_hook(Hook(heard)))

    def leaving(self, module: nn.Module, read: Callable[[Any], None]) -> RemovableHandle:
        """After each call of a module: read(what it returned), as it was returned."""

        def heard(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            if self.listening:
                self._safely(read, output)

        return self._kept(module.register_forward_hook(Hook(heard)))

    def around(
        self,
        before: Callable[[tuple[Any, ...], Mapping[str, Any]], None],
        after: Callable[[Any], None],
    ) -> None:
        """Around each pass of the whole model, heard or not: before(arguments, keywords), and
        after(what it returned) unless the pass broke off."""
        start = Hook(lambda _, given, named: self._safely(before, given, named))
        end = Hook(lambda _, __, ___, output: self._safely(after, output))
        self._kept(self.model.register_forward_pre_hook(start, with_kwargs=True))
        self._kept(self.model.register_forward_hook(end, with_kwargs=True))

    def _safely(self, read: Callable[..., None], *arguments: Any) -> None:
        """The forward pass is not ours to break off: `check` says later what went wrong."""
        try:
            read(*arguments)
        except Exception as error:
            self._error = self._error or error

    def check(self) -> None:
        """Raises, once, what the first read that failed raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _kept(self, handle: RemovableHandle) -> RemovableHandle:
        self._handles.append(handle)
        return handle

    def close(self) -> None:
        """Take all hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def around_steps(
    optimizer: torch.optim.Optimizer, before: Callable[[], None], after: Callable[[], None]
) -> list[RemovableHandle]:
    """Around each step that an optimizer really makes; a gradient scaler that skips one calls none.
    Neither may raise: a training step is not ours to break off."""
    return [
        optimizer.register_step_pre_hook(Hook(lambda *_: before())),
        optimizer.register_step_post_hook(Hook(lambda *_: after())),
    ]


class Hook:
    """A hook that copies and pickles of the model leave behind."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> None:
        self._call(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return Silent, ()


class Silent:
    """What stands in a hook's place in a copy."""

    def __call__(self, *arguments: Any) -> None:
        return None
