"""Passes: features of the forward passes that a loop makes anyway, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.tap.batches import (
    LABELS,
    MASKS,
    Tokens,
    as_labels,
    rows_of,
    unpack_batch,
)
from ncollapse.collect.tap.listener import Listener, When, in_training
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.collect.tap.tokens import targets


class DivergedError(ValueError):
    """The model returned NaN or infinity, so what it is made of cannot be told."""


@dataclass(frozen=True, eq=False)
class Heard:
    """One forward pass: features (samples, dim) by layer, the number of classes of the head (None
    without one), and the labels where the model was given them. With ids (sequences, time) every
    token is a sample; mask: the real ones; kind: "next" or "same", see `ncollapse.collect.tap`."""

    features: dict[str, Tensor]
    width: int | None
    labels: Tensor | None
    ids: Tensor | None = None
    mask: Tensor | None = None
    kind: str = "next"

    def labelled(self, target: Any = None) -> tuple[dict[str, Tensor], Tensor] | None:
        """Features of the samples that count, and their labels: `target`, else those that the model
        was given. None where there are none. Raises ValueError for labels that do not fit."""
        labels = self.labels if target is None else target
        if self.ids is None:
            if labels is None:
                return None
            return self.features, unpack_batch((None, labels)).labels
        if labels is not None:
            labels = as_labels(labels)
            labels = labels.view_as(self.ids) if labels.numel() == self.ids.numel() else labels
        elif self.kind == "same":
            return None
        found, positions = targets(self.ids, labels, self.mask, kind=self.kind)
        features = {name: rows[positions.to(rows.device)] for name, rows in self.features.items()}
        return features, found


class Passes:
    """Reads taps at each forward pass of their model that `when` lets through.

    From `open` to `close` the model itself is heard; the taps are on during a forward pass only, so
    that copies of the model (an average of its weights, say) carry none. With `tokens` ("next",
    "same") every token of the ids that the model is given is a sample. `take` hands out the last
    pass; an earlier one that nobody took is dropped.
    """

    def __init__(self, taps: Taps, when: When = in_training, tokens: str | None = None) -> None:
        self.taps, self.tokens = taps, tokens
        self.error: ValueError | None = None
        self._listener = Listener(taps.model, when)
        self._heard: Heard | None = None
        self._labels: Tensor | None = None
        self._ids: Tensor | None = None
        self._mask: Tensor | None = None
        self._begun = False

    def open(self) -> Passes:
        """Begin to listen, or go on."""
        self._listener.close()
        self._listener.around(self._before, self._after)
        return self

    def close(self) -> None:
        """Take the hooks off; what was heard stays."""
        self._listener.close()
        self._leave()

    @property
    def pending(self) -> bool:
        """Whether a forward pass, or what went wrong in one, waits to be taken."""
        return self._heard is not None or self.error is not None

    def take(self) -> Heard | None:
        """The last forward pass that was not yet taken. Raises the ValueError that reading it
        met, once."""
        heard, self._heard = self._heard, None
        error, self.error = self.error, None
        if error is not None:
            raise error
        try:
            self._listener.check()
        except Exception as unforeseen:
            raise ValueError(f"{type(unforeseen).__name__}: {unforeseen}") from unforeseen
        return heard

    def renew(self) -> None:
        """Look for the head again: it was replaced. Raises ValueError where `Taps` does."""
        self._leave()
        self.taps = self.taps.renewed()

    # ---- a pass -------------------------------------------------------------------------------
    def _before(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._leave()  # The pass before this one may have broken off.
        if not self._listener.listening:
            return
        samples = rows_of(args if args else _inputs(kwargs))
        if samples is None:
            return
        self._labels, self._mask = _named(kwargs, LABELS), _named(kwargs, MASKS)
        self._ids = None if self.tokens is None else _ids(args or _inputs(kwargs))
        every = None
        if self._ids is not None:
            rows, time = self._ids.shape
            every = Tokens(torch.arange(rows * time), rows, time)
        self.taps.__enter__()
        self.taps.begin(samples, self._mask, every)
        self._begun = True

    def _after(self, output: Any) -> None:
        if not self._begun:
            return
        try:
            # Forward passes go on whatever is found; `take` says what it was.
            features = self.taps.end(output)
            width = None if HEAD not in features else self.taps.classes_of(output)
            self._heard = Heard(
                dict(features), width, self._labels, self._ids, self._mask, self.tokens or "next"
            )
        except ValueError as error:
            self.error = error
            logits = self.taps.logits(output)
            if logits is not None and not bool(logits.isfinite().all()):
                self.error = DivergedError(f"the model's output holds NaN or infinity ({error})")
        finally:
            self._leave()

    def _leave(self) -> None:
        self.taps.__exit__()
        self._labels = self._ids = self._mask = None
        self._begun = False


def _inputs(kwargs: Mapping[str, Any]) -> list[Any]:
    return [value for key, value in kwargs.items() if key not in (*LABELS, *MASKS)]


def _ids(inputs: Any) -> Tensor | None:
    """Token ids (sequences, time) among what the model is given."""
    for value in inputs:
        if isinstance(value, Tensor) and value.dim() == 2 and not value.is_floating_point():
            return value.detach()
    return None


def _named(kwargs: Mapping[str, Any], names: tuple[str, ...]) -> Tensor | None:
    found = (kwargs.get(name) for name in names)
    return next((value.detach() for value in found if isinstance(value, Tensor)), None)
