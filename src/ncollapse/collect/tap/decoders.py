"""Encoder-decoders as classifiers: every token of the target is a sample, its class the next one.

What enters the decoder is the target moved on by one place, so the logits at t are those of
label t itself. Padding is no sample, and positions of the source are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.tap.batches import Batch, Tokens, Unpack, describe
from ncollapse.collect.tap.tokens import DECODED, kind_of, targets, token_parts
from ncollapse.sources.specs.models import GENERATORS

MASK = "decoder_attention_mask"
# Places in the labels that do not count, as losses of transformers have it.
SKIPPED = -100


def decodes(model: nn.Module) -> bool:
    """Whether this is an encoder-decoder of transformers that makes a logit for every next token of
    its target."""
    config = getattr(model, "config", None)
    if not getattr(config, "is_encoder_decoder", False):
        return False
    return kind_of(model).endswith(GENERATORS)


def is_decoded(raw: Any, unpack: Unpack | None = None) -> bool:
    """Whether tokens of the target are what a batch for such a model has to hold: not where it
    brings what enters the decoder, and labels of something else."""
    inputs, labels = token_parts(raw, unpack)
    enters = isinstance(inputs, Mapping) and DECODED in inputs
    return labels is None or _is_ids(labels) or not enters


def decoder_batch(
    model: nn.Module, raw: Any, unpack: Unpack | None = None, ignore_index: int | None = SKIPPED
) -> Batch:
    """What a loader yields → a batch whose labels are those of the target's tokens.

    Mappings with `labels` (sequences, time), not shifted, as models of transformers take them, with
    `decoder_input_ids`, or with both; pairs (ids, labels). Without `decoder_input_ids` the model
    makes them of the labels. A label counts unless it is `ignore_index`, or padding: by
    `decoder_attention_mask` where there is one, else by the model's pad token, where that is not
    the end token too. Without labels the class of a position is the next of `decoder_input_ids`.

    Raises ValueError for batches without either, that says what was found.
    """
    inputs, labels = token_parts(raw, unpack)
    if not isinstance(inputs, Mapping):
        inputs = {getattr(model, "main_input_name", "input_ids"): inputs}
    inputs = dict(inputs)
    entered, mask = inputs.get(DECODED), inputs.get(MASK)
    labels = None if labels is None else torch.as_tensor(labels)
    if not _is_ids(labels) and not _is_ids(entered):
        raise ValueError(
            f"the loader yields {describe(raw)}; {kind_of(model)} writes a target, so "
            "mappings with 'labels' (sequences, time), the tokens of the target, are needed; for "
            "one class a sequence bring a model ForSequenceClassification"
        )
    if labels is None or not _is_ids(labels):
        assert isinstance(entered, Tensor)
        found, positions = targets(entered, None, mask, kind="next", ignore_index=ignore_index)
        return Batch(inputs, found, None, Tokens(positions, *map(int, entered.shape)))
    if entered is None:
        inputs[DECODED] = _entering(model, labels)
    real = labels != SKIPPED
    padding = _padding(model)
    if isinstance(mask, Tensor):
        real &= mask.bool().to(labels.device)
    elif padding is not None:
        real &= labels != padding
    found, positions = targets(labels, labels, real, kind="same", ignore_index=ignore_index)
    return Batch(inputs, found, None, Tokens(positions, *map(int, labels.shape)))


def encoder_layers(model: nn.Module, names: list[str]) -> list[str]:
    """Those of the names that are the encoder's: they see tokens of the source."""
    getter = getattr(model, "get_encoder", None)
    encoder = getter() if callable(getter) else None
    if not isinstance(encoder, nn.Module):
        return []
    inside = {id(part) for part in encoder.modules()}
    known = dict(model.named_modules())
    return [name for name in names if name in known and id(known[name]) in inside]


def _is_ids(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2 and not value.is_floating_point()


def _padding(model: nn.Module) -> int | None:
    config = model.config
    pad, end = getattr(config, "pad_token_id", None), getattr(config, "eos_token_id", None)
    ends = end if isinstance(end, (list, tuple)) else [end]
    return None if pad is None or pad in ends else int(pad)


def _entering(model: nn.Module, labels: Tensor) -> Tensor:
    """What enters the decoder so that it writes the labels: the model's own way, or the start token
    and then all labels but the last."""
    make = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if callable(make):
        made = make(labels=labels)
        assert isinstance(made, Tensor)
        return made
    config = model.config
    start, pad = (getattr(config, f"{name}_token_id", None) for name in ("decoder_start", "pad"))
    start = getattr(config, "bos_token_id", None) if start is None else start
    if start is None:
        raise ValueError(
            f"the config of {kind_of(model)} names no decoder_start_token_id; batches with "
            f"{DECODED!r} beside 'labels' are needed"
        )
    moved = labels.roll(1, 1)
    moved[:, 0] = int(start)
    return moved.masked_fill(moved == SKIPPED, int(start if pad is None else pad))
