"""Listener: features of the forward passes that a training loop makes anyway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ncollapse.collect.tap.batches import LABELS, MASKS
from ncollapse.collect.tap.heads import logits_of
from ncollapse.collect.tap.hooks import Hook
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


class Listener:
    """Reads the taps of a model at each forward pass in one mode.

    training=True hears passes in training mode with gradients on; False hears passes in eval
    mode. Two hooks stand on the model itself from `open` to `close`; those of the taps are there
    during a forward pass only, so that copies of the model (an average of its weights, say) carry
    none. `take` hands out the last pass; an earlier one that nobody took is dropped.

    Raises ValueError where `Taps` does.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Layers = None,
        *,
        head: str | nn.Module | bool | None = None,
        pool: Pool | dict[str, Pool] = "auto",
        training: bool = True,
    ) -> None:
        self._arguments: dict[str, Any] = {"layers": layers, "pool": pool}
        self.taps = Taps(model, layers, head=head, pool=pool)
        self.training = training
        self.error: ValueError | None = None
        self._heard: Heard | None = None
        self._labels: Tensor | None = None
        self._begun = False
        self._handles: list[RemovableHandle] = []

    def open(self) -> Listener:
        """Begin to listen."""
        if not self._handles:
            model = self.taps.model
            self._handles = [
                model.register_forward_pre_hook(Hook(self._before), with_kwargs=True),
                model.register_forward_hook(Hook(self._after), with_kwargs=True),
            ]
        return self

    def close(self) -> None:
        """Take the hooks off; what was heard stays."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
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
        was_open = bool(self._handles)
        self.close()
        old = self.taps
        name = None if old.head is None else old.head.name
        known = name is not None and any(name == found for found, _ in old.model.named_modules())
        head: str | bool | None = (name if known else None) if old.wants_head else False
        self.taps = Taps(old.model, head=head, **self._arguments)
        if was_open:
            self.open()

    # ---- hooks --------------------------------------------------------------------------------
    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._leave()
        if module.training != self.training or (self.training and not torch.is_grad_enabled()):
            return
        first = first_tensor(args) if args else first_tensor(_inputs(kwargs))
        if first is None or first.dim() == 0:
            return
        self._labels = _named(kwargs, LABELS)
        self.taps.__enter__()
        self.taps.begin(first.shape[0], _named(kwargs, MASKS))
        self._begun = True

    def _after(self, _: nn.Module, __: tuple[Any, ...], ___: dict[str, Any], output: Any) -> None:
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
