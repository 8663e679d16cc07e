"""Passes: features of the forward passes that a loop makes anyway, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ncollapse.collect.tap.batches import LABELS, MASKS
from ncollapse.collect.tap.heads import logits_of
from ncollapse.collect.tap.listener import Listener, When, in_training
from ncollapse.collect.tap.pooling import Pool, first_tensor
from ncollapse.collect.tap.select import Layers
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
    """Reads the taps of a model at each forward pass that `when` lets through.

    From `open` to `close` the model itself is heard; the taps are on during a forward pass only, so
    that copies of the model (an average of its weights, say) carry none. `take` hands out the last
    pass; an earlier one that nobody took is dropped.

    Raises ValueError where `Taps` does.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Layers = None,
        *,
        head: str | nn.Module | bool | None = None,
        pool: Pool | dict[str, Pool] = "auto",
        when: When = in_training,
    ) -> None:
        self._where: dict[str, Any] = {"layers": layers, "pool": pool}
        self.taps = Taps(model, head=head, **self._where)
        self.error: ValueError | None = None
        self._listener = Listener(model, when)
        self._heard: Heard | None = None
        self._labels: Tensor | None = None
        self._begun = False

    def open(self) -> Passes:
        """Begin to listen."""
        if not self._listener.is_open:
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
        """Look for the head again, by its name where the model still has that: it was replaced."""
        self._leave()
        old = self.taps
        name = None if old.head is None else old.head.name
        known = name is not None and any(name == found for found, _ in old.model.named_modules())
        head: str | bool | None = (name if known else None) if old.wants_head else False
        self.taps = Taps(old.model, head=head, **self._where)

    # ---- a pass -------------------------------------------------------------------------------
    def _before(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._leave()  # The pass before this one may have broken off.
        if not self._listener.listening:
            return
        first = first_tensor(args) if args else first_tensor(_inputs(kwargs))
        if first is None or first.dim() == 0:
            return
        self._labels = _named(kwargs, LABELS)
        self.taps.__enter__()
        self.taps.begin(first.shape[0], _named(kwargs, MASKS))
        self._begun = True

    def _after(self, output: Any) -> None:
        if not self._begun:
            return
        try:
            # Forward passes go on whatever is found; `take` says what it was.
            logits = logits_of(output) if self.taps.wants_head else None
            features = self.taps.end(output)
            width = None if logits is None or HEAD not in features else logits.shape[-1]
            self._heard = Heard(dict(features), width, self._labels)
        except ValueError as error:
            self.error = error
            logits = logits_of(output)
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
