"""Losses that read what enters the head of a network in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.tap.listener import Listener, in_training
from ncollapse.control.thermostat import Thermostat
from ncollapse.lab.readings import NC1, reading
from ncollapse.lab.train import Loss, Silent, State

Penalty = Callable[[Tensor, Tensor], Tensor]


class Tap:
    """Keeps what enters `model.head` in a training step, with its graph."""

    def __init__(self, model: nn.Sequential) -> None:
        self.model = model
        self._found: Tensor | None = None
        listener = Listener(model, in_training, gradients=True)
        listener.entering(model.get_submodule("head"), self._keep)

    def _keep(self, entered: Tensor, _: object) -> None:
        self._found = entered

    def take(self) -> Tensor:
        """The features of the last training step. Raises ValueError where there was none."""
        if self._found is None:
            raise ValueError("no training step went through the head; run the model first")
        found, self._found = self._found, None
        return found


def penalised(model: nn.Sequential, penalty: Penalty) -> Loss:
    """Cross-entropy plus penalty(features, labels)."""
    tap = Tap(model)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels) + penalty(tap.take(), labels)

    return loss


@dataclass
class Dial(Silent):
    """A thermostat in training: its loss, and as a callback of `train` what each epoch left.

    readings: the thermostat's metric on the training split in eval mode; online: median of its own
    readings over the epoch's batches, NaN where it could not read any; weights: its last weight.
    Without a thermostat the loss is cross-entropy, and `readings` of `nc1_fisher` alone are kept.
    """

    model: nn.Sequential
    thermostat: Thermostat | None
    readings: list[float] = field(default_factory=list)
    online: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tap = Tap(self.model)
        self._batches: list[float] = []

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy plus the thermostat's penalty."""
        value = functional.cross_entropy(logits, labels)
        features = self._tap.take()
        if self.thermostat is None:
            return value
        self._batches.append(self.thermostat.observe(features, labels))
        return value + self.thermostat.penalty().to(value.dtype)

    def on_epoch_end(self, state: State) -> None:
        key = NC1 if self.thermostat is None else self.thermostat.metric
        self.readings.append(reading(state.model, state.data.loader("train"), key))
        if self.thermostat is not None:
            given = [value for value in self._batches if np.isfinite(value)]
            self.online.append(float(np.median(given)) if given else np.nan)
            self.weights.append(self.thermostat.weight)
            self._batches = []
