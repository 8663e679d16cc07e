"""Language models as classifiers: every token position is a sample, its class the next token.

The class of position t is token t + 1 of the same sequence, so the last position has none; padding
is no sample, neither as input nor as target, and targets equal to `ignore_index` are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ncollapse.collect.tap.batches import LABELS, MASKS, Batch, Tokens, Unpack, describe

# What enters the decoder of a model that writes a target.
DECODED = "decoder_input_ids"
INPUTS = (DECODED, "input_ids", "tokens", "inputs")
KINDS = ("next", "same")
# Whether every token is a sample is then told by the model and its first batch.
AUTO = "auto"
# What transformers calls models that make a logit for every next token.
CAUSAL = ("ForCausalLM", "LMHeadModel")
# Sequences are shorter than this, so sequence and position make one number.
LONGEST = 1 << 24


def token_kind(tokens: bool | str | None) -> str | None:
    """None for no tokens, "next" for True, "auto" for None. Raises ValueError for an unknown
    kind."""
    if tokens is False:
        return None
    if tokens is None:
        return AUTO
    kind = "next" if tokens is True else tokens
    if kind not in KINDS:
        raise ValueError(
            f"tokens={tokens!r} is unknown; True or 'next' (class = the next token) or 'same' "
            "(class = the label at the position itself) is needed"
        )
    return kind


def kind_of(model: nn.Module) -> str:
    """The name of a model's class, or of the model's that adapters (PEFT) stand around."""
    inner = getattr(model, "get_base_model", None)
    return type(inner() if callable(inner) else model).__name__


def found_kind(model: nn.Module, raw: Any, unpack: Unpack | None = None) -> str | None:
    """ "next" for a causal language model of transformers whose batch holds token ids (sequences,
    time), with labels of their shape or without any; None for anything else."""
    if not kind_of(model).endswith(CAUSAL):
        return None
    inputs, labels = token_parts(raw, unpack)
    ids = ids_of(inputs)
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point():
        return None
    shape = None if labels is None else tuple(getattr(labels, "shape", ()))
    return "next" if shape is None or shape == tuple(ids.shape) else None


def targets(
    ids: Tensor,
    labels: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    kind: str = "next",
    ignore_index: int | None = -100,
) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"]]:
    """(classes, positions) of all valid tokens; positions index the flattened (sequences · time).

    kind "next": the class of position t is labels[t + 1] (ids[t + 1] without labels), as causal
    language models are trained; "same": labels[t]. A position counts where the mask holds at t and
    at its target, and the target is not `ignore_index`. Raises ValueError where shapes disagree,
    or kind "same" has no labels.
    """
    for name, value in (("labels", labels), ("the mask", mask)):
        if value is not None and value.shape != ids.shape:
            raise ValueError(
                f"{name} have shape {tuple(value.shape)} for token ids {tuple(ids.shape)}; one "
                "entry a token is needed (sequences, time)"
            )
    if kind == "same" and labels is None:
        raise ValueError(
            "tokens='same' reads the label of each token; batches with 'labels' and "
            "(sequences, time) class numbers are needed"
        )
    found = ids if labels is None else labels
    valid = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool().to(ids.device)
    if kind == "next":
        ahead = torch.zeros_like(found)
        ahead[:, :-1] = found[:, 1:]
        both = torch.zeros_like(valid)
        both[:, :-1] = valid[:, :-1] & valid[:, 1:]
        found, valid = ahead, both
    if ignore_index is not None:
        valid = valid & (found != ignore_index)
    positions = valid.flatten().nonzero().flatten()
    return found.flatten()[positions].to(torch.int64), positions


def token_batch(
    raw: Any, kind: str, unpack: Unpack | None = None, ignore_index: int | None = -100
) -> Batch:
    """What a loader yields → a batch whose labels are those of its valid tokens.

    Mappings with `input_ids` (and `attention_mask`, and `labels` of the same shape, not shifted, as
    Hugging Face models take them), tensors of ids, or pairs (ids, labels). `unpack` maps anything
    else to (inputs, labels or None). Raises ValueError that says what was found.
    """
    inputs, labels = token_parts(raw, unpack)
    ids = ids_of(inputs)
    mask = None
    if isinstance(inputs, Mapping):
        mask = next((inputs[key] for key in MASKS if isinstance(inputs.get(key), Tensor)), None)
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point():
        raise ValueError(
            f"the loader yields {describe(raw)}; with tokens, mappings with 'input_ids' "
            "(sequences, time), or tensors of token ids, are needed; or pass unpack=lambda batch: "
            "(inputs, labels)"
        )
    if kind == "next" and ids.shape[1] < 2:
        raise ValueError(
            f"the loader yields sequences of {ids.shape[1]} token, which has no next one; at least "
            "2 tokens a sequence are needed"
        )
    labels = None if labels is None else torch.as_tensor(labels)
    found, positions = targets(ids, labels, mask, kind=kind, ignore_index=ignore_index)
    return Batch(inputs, found, mask, Tokens(positions, int(ids.shape[0]), int(ids.shape[1])))


def ids_of(inputs: Any) -> Any:
    """The token ids among inputs, whatever they are."""
    if not isinstance(inputs, Mapping):
        return inputs
    return next((inputs[key] for key in INPUTS if key in inputs), None)


def token_parts(raw: Any, unpack: Unpack | None = None) -> tuple[Any, Any]:
    """(inputs, labels of tokens or None) in what a loader yields."""
    if unpack is not None:
        inputs, labels = unpack(raw)
        return inputs, labels
    if isinstance(raw, Mapping):
        name = next((key for key in LABELS if key in raw), None)
        labels = None if name is None else raw[name]
        return {key: value for key, value in raw.items() if key != name}, labels
    if isinstance(raw, (tuple, list)) and raw and isinstance(raw[0], Tensor):
        return raw[0], raw[1] if len(raw) > 1 else None
    return raw, None


def token_order(order: Tensor, tokens: Tokens) -> Tensor:
    """Place of each token among all, from the places of its sequences."""
    row = torch.div(tokens.positions, tokens.time, rounding_mode="floor").cpu()
    return order[row] * LONGEST + (tokens.positions.cpu() - row * tokens.time)


def without_rare(
    counts: Int[Tensor, " classes"], min_count: int, ignore_index: int
) -> Callable[[Int[Tensor, " samples"]], Int[Tensor, " samples"]]:
    """Labels → labels, with the classes of fewer than `min_count` samples (by `counts`) ignored."""
    rare = counts < min_count

    def relabel(labels: Int[Tensor, " samples"]) -> Int[Tensor, " samples"]:
        valid = (labels >= 0) & (labels < counts.numel())
        drop = valid & rare[labels.clamp(0, counts.numel() - 1)]
        return torch.where(drop, torch.full_like(labels, ignore_index), labels)

    return relabel
