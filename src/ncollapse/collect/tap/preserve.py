"""A model that is run and left as it was: modes, buffers, and the global random states."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

# Buffers are statistics and tables. Quantised weights are buffers too, and nothing in a forward
# pass writes into those: past so many bytes in all, none is copied.
COPIED = 2**28
Kept = list[tuple[nn.Module, str, Tensor, Tensor]]


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every module's mode, what buffers held, and the global random
    states are as before.

    Modes go through each module's own `train()` and `eval()`, so that modules that work there
    (adapters that merge into the weight) undo what they did. A table that the model makes in its
    forward pass, or makes longer, stays: it depends on the inputs alone, and modules remember
    elsewhere how long theirs is.
    """
    state, plain = np.random.get_state(), random.getstate()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    buffers = _copied(model)
    try:
        with evaluating(model), torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        random.setstate(plain)
        _restore(buffers)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; every module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        set_modes(model, dict.fromkeys(modes, False))
        yield
    finally:
        set_modes(model, modes)


def uncompiled() -> AbstractContextManager[Any]:
    """Compiled parts of a model run as they were written: compiled before there were hooks, they
    would call none."""
    stance = getattr(torch.compiler, "set_stance", None)
    if stance is None or "torch._dynamo" not in sys.modules:
        return nullcontext()  # Nothing was compiled, and to ask imports the compiler.
    return stance("force_eager")


def set_modes(model: nn.Module, modes: dict[nn.Module, bool]) -> None:
    """Bring every module into its mode by the fewest calls of `train(mode)`: a part that is right
    as a whole is not called, one that needs one mode as a whole is called once."""
    wrong = {module for module, mode in modes.items() if module.training != mode}

    def walk(module: nn.Module) -> None:
        inside = [part for part in module.modules() if part in modes]
        if not wrong.intersection(inside):
            return
        mode = modes.get(module, module.training)
        if all(modes[part] == mode for part in inside):
            module.train(mode)
        else:
            if module in wrong and type(module).train is nn.Module.train:
                module.training = mode
            elif module in wrong:
                module.train(mode)  # Its children follow, and are set right below.
                wrong.update(part for part in inside if part.training != modes[part])
            for child in module.children():
                walk(child)
        wrong.difference_update(part for part in inside if part.training == modes[part])

    walk(model)
    for module, mode in modes.items():
        if module.training != mode:
            module.training = mode  # Its own train() will have it otherwise.


def _copied(model: nn.Module) -> Kept:
    """What buffers hold: module, name, the tensor itself and a copy of its values."""
    kept: Kept = []
    held = 0
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is None or is_lazy(buffer):
                continue
            held += buffer.nbytes
            if held > COPIED:
                return kept
            kept.append((module, name, buffer, buffer.detach().clone()))
    return kept


@torch.no_grad()
def _restore(kept: Kept) -> None:
    for module, name, buffer, copy in kept:
        now = module._buffers.get(name)
        if now is None or now.shape != copy.shape or now.dtype != copy.dtype:
            continue
        if now is not buffer:
            module._buffers[name] = buffer
        # A write that changes nothing would still count as one for a graph that waits.
        if not torch.equal(buffer, copy):
            buffer.copy_(copy)
