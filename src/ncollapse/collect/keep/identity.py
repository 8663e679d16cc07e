"""What a model is, for a kept pass: weights to the last bit, modules, their settings and code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import chain
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

PLAIN = (float, str, bool, complex, torch.dtype)


def fingerprint(model: nn.Module, layers: Mapping[str, nn.Module], options: tuple[Any, ...]) -> str:
    """sha256 of weights and buffers, modules, the layers read and the options.

    Weights count by content: two with the same sum, or the same rows in another order, are two
    models. Modules count by class, by what they print of their settings, by attributes that are
    plain numbers, and, where they are not torch's own, by the code of their forward: parameters do
    not tell ReLU from tanh. Attributes that are integers do not count, because counters are kept
    in them. What a module reads elsewhere (a global, a file) is not seen.
    """
    digest = hashlib.sha256(repr(tuple(layers)).encode())
    for option in options:
        _enter_option(option, digest)
    for name, module in model.named_modules():
        kind = type(module)
        digest.update(f"{name}:{kind.__module__}.{kind.__qualname__}".encode())
        digest.update(module.extra_repr().encode())
        digest.update(repr(_settings(module)).encode())
        if not kind.__module__.startswith("torch."):
            _enter_code(kind.forward, digest)
    for name, value in chain(model.named_parameters(), model.named_buffers()):
        if not is_lazy(value):
            _enter_tensor(name, value, digest)
    return digest.hexdigest()


def _settings(module: nn.Module) -> list[tuple[str, Any]]:
    """Attributes that a forward may read: plain values, and tuples or lists of them."""
    return sorted(
        (name, value)
        for name, value in vars(module).items()
        if name != "training" and not name.startswith("_") and _is_plain(value)
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(isinstance(item, (*PLAIN, int)) for item in value)
    return isinstance(value, PLAIN)


def _enter_tensor(name: str, value: Tensor, digest: Any) -> None:
    full = getattr(value, "full_tensor", None)
    value = value.detach() if full is None else full().detach()
    digest.update(repr((name, value.dtype, tuple(value.shape))).encode())
    if value.numel() and not value.is_meta and not value.is_quantized:
        rows = value.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        digest.update(rows.view(torch.uint8).numpy().data)


def _enter_option(option: Any, digest: Any) -> None:
    """An option that is a function counts by its code: its address is another in every process."""
    if isinstance(option, Mapping):
        for key in option:
            digest.update(repr(key).encode())
            _enter_option(option[key], digest)
    elif callable(option) and not isinstance(option, type):
        _enter_code(option, digest)
    else:
        digest.update(repr(option).encode())


def _enter_code(function: Callable[..., Any], digest: Any) -> None:
    digest.update(getattr(function, "__qualname__", type(function).__qualname__).encode())
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType):
        _enter_compiled(code, digest)


def _enter_compiled(code: CodeType, digest: Any) -> None:
    # Not where it stands in its file: a comment above it changes nothing.
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _enter_compiled(constant, digest)
        elif not isinstance(constant, frozenset):
            digest.update(repr(constant).encode())
