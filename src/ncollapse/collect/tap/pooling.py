"""Outputs of any shape → one vector a sample, with the name of how: it belongs to the number.

Pooling changes what NC1 reads, not only what it costs, so every reading carries the name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.tap.batches import Tokens
from ncollapse.collect.tap.layouts import SAID, AmbiguousError, Layout, said_layout

POOLS = ("auto", "mean", "cls", "last", "flatten", *SAID)
Pool = str | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Shape:
    """What pooling needs to know of a batch: samples, mask (samples, tokens) of real tokens, and
    whether the model puts a class token first. tokens: which are samples themselves."""

    samples: int
    mask: Tensor | None = None
    class_token: bool = False
    tokens: Tokens | None = None


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that an output is, or holds first: of tuples, mappings and model outputs."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (tuple, list)):
        return next((found for found in map(first_tensor, output) if found is not None), None)
    return None


def check_pool(how: Pool) -> None:
    """Raises ValueError for an unknown name."""
    if not callable(how) and how not in POOLS:
        raise ValueError(
            f"pool {how!r} is unknown; {', '.join(POOLS)} or a function of the output is needed"
        )


def pool(
    output: Tensor,
    how: Pool,
    shape: Shape,
    layout: Layout | None = None,
    *,
    gradients: bool = False,
) -> tuple[Tensor, str]:
    """Features (samples, dim) in memory of their own, and the name of the pooling.

    auto: vectors as they are; outputs with more axes by their `layout`: the mean over all axes but
    samples and channels; of (samples, tokens, dim) the mean over real tokens where a mask is known,
    else the class token where the model has one, else the mean. "cls" first token, "last" last real
    token, "flatten" all numbers of a sample; "channels-first", "channels-last" and "time-first"
    (time, samples, dim) are means that say what the axes are. gradients: features keep the graph of
    the output.

    Raises ValueError for outputs that are no floats, have another number of samples, cannot be
    pooled this way, or have axes that nothing tells apart.
    """
    value = output if gradients else output.detach()
    if not value.is_floating_point():
        raise ValueError(f"the output is {value.dtype}; floating-point numbers are needed")
    if shape.tokens is not None:
        return of_tokens(value, shape.tokens), "every token"
    if callable(how):
        found, name = how(value), getattr(how, "__name__", type(how).__name__)
        if found.dim() != 2:
            raise ValueError(
                f"pool function {name} made shape {tuple(found.shape)} of {tuple(value.shape)}; "
                "(samples, dim) is needed"
            )
    else:
        found, name = _named(value, how, shape, said_layout(how) or layout)
    if found.shape[0] != shape.samples:
        raise ValueError(
            f"the output has {found.shape[0]} rows for {shape.samples} labels; one row a sample is "
            "needed"
        )
    # A later layer may write into the same memory: what is kept must be ours.
    shared = found.untyped_storage().data_ptr() == output.untyped_storage().data_ptr()
    return (found.clone() if shared else found), name


def needs_layout(value: Tensor, how: Pool, shape: Shape) -> bool:
    """Whether pooling must know which axis is which."""
    return value.dim() > 2 and not callable(how) and how not in SAID and shape.tokens is None


def of_tokens(value: Tensor, tokens: Tokens) -> Tensor:
    """Rows (tokens, dim) of the tokens that are samples, of an output (sequences, time, dim)."""
    if value.dim() != 3 or value.shape[:2] != (tokens.sequences, tokens.time):
        raise ValueError(
            f"the output has shape {tuple(value.shape)} for {tokens.sequences} sequences of "
            f"{tokens.time} tokens; (sequences, time, dim) is needed to read every token"
        )
    return value.flatten(0, 1)[tokens.positions.to(value.device)]


def _named(value: Tensor, how: str, shape: Shape, layout: Layout | None) -> tuple[Tensor, str]:
    if value.dim() == 2:
        return value, "none"
    if value.dim() < 2:
        raise ValueError(f"the output has shape {tuple(value.shape)}; no vector a sample")
    if layout is None and how in ("cls", "last", "flatten"):
        layout = Layout(0, value.dim() - 1)  # Whoever asks for a token says that there are some.
    if layout is None:
        raise AmbiguousError(
            f"the output has shape {tuple(value.shape)}, and nothing tells which axis holds "
            "channels; pass pool='channels-first' or pool='channels-last'"
        )
    value = value.movedim(layout.samples, 0)
    channels = layout.channels % value.dim()
    if how == "flatten":
        return value.flatten(1), "flatten"
    if value.dim() == 3 and channels == 2:
        return _tokens(value, how, shape)
    if how in ("cls", "last"):
        raise ValueError(
            f"the output has shape {tuple(value.shape)}, which holds no tokens; use pool='mean' or "
            "'flatten'"
        )
    axes = tuple(axis for axis in range(1, value.dim()) if axis != channels)
    return _mean(value, axes), "mean over space"


def _tokens(value: Tensor, how: str, shape: Shape) -> tuple[Tensor, str]:
    mask = shape.mask
    if mask is not None and mask.shape != value.shape[:2]:
        mask = None
    if how == "auto":
        how = "mean" if mask is not None or not shape.class_token else "cls"
    if how == "cls":
        return value[:, 0], "class token"
    if how == "last":
        if mask is None:
            return value[:, -1], "last token"
        place = torch.arange(value.shape[1], device=value.device)
        last = (mask.to(value.device).bool() * place).argmax(1)
        return value[torch.arange(value.shape[0], device=value.device), last], "last token"
    if mask is None:
        return _mean(value, (1,)), "mean over tokens"
    weight = mask.to(device=value.device, dtype=_wide(value))
    total = torch.einsum("bt,btd->bd", weight, value.to(_wide(value)))
    return total / weight.sum(1, keepdim=True).clamp_min(1), "masked mean over tokens"


def _wide(value: Tensor) -> torch.dtype:
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def _mean(value: Tensor, axes: tuple[int, ...]) -> Tensor:
    return value.mean(axes, dtype=_wide(value))
