"""Passes: features of the forward passes that a loop makes anyway, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ncollapse.collect.tap.batches import LABELS, MASKS, rows_of
from ncollapse.collect.tap.listener import Listener, When, in_training
from ncollapse.collect.tap.taps import HEAD, Taps


class DivergedError(ValueError):
    """The model returned NaN or infinity, so what it is made of cannot be told."""


@dataclass(frozen=True, eq=False)
class Heard:
    """One forward pass: features (samples, dim) by layer, logits' width (None without a head), and
    the labels where the model was given them."""

    features: dict[str, Tensor]
    width: int | None
    labels: Tensor | None


class Passes:
    """Reads taps at each forward pass of their model that `when` lets through.

    From `open` to `close` the model itself is heard; the taps are on during a forward pass only, so
    that copies of the model (an average of its weights, say) carry none. `take` hands out the last
    pass; an earlier one that nobody took is dropped.
    """

    def __init__(self, taps: Taps, when: When = in_training) -> None:
        self.taps = taps
        self.error: ValueError | None = None
        self._listener = Listener(taps.model, when)
        self._heard: Heard | None = None
        self._labels: Tensor | None = None
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
        self._labels = _named(kwargs, LABELS)
        self.taps.__enter__()
        self.taps.begin(samples, _named(kwargs, MASKS))
        self._begun = True

    def _after(self, output: Any) -> None:
        if not self._begun:
            return
        try:
            # Forward passes go on whatever is found; `take` says what it was.
            features = self.taps.end(output)
            head = self.taps.head
            width = None if head is None or HEAD not in features else head.weight.shape[0]
            self._heard = Heard(dict(features), width, self._labels)
        except ValueError as error:
            self.error = error
            logits = self.taps.logits(output)
            if logits is not None and not bool(logits.isfinite().all()):
                self.error = DivergedError(f"the model's output holds NaN or infinity ({error})")
        finally:
            self._leave()

    def _leave(self) -> None:
        self.taps.__exit__()
        self._labels, self._begun = None, False


def _inputs(kwargs: Mapping[str, Any]) -> list[Any]:
    return [value for key, value in kwargs.items() if key not in (*LABELS, *MASKS)]


def _named(kwargs: Mapping[str, Any], names: tuple[str, ...]) -> Tensor | None:
    found = (kwargs.get(name) for name in names)
    return next((value.detach() for value in found if isinstance(value, Tensor)), None)
