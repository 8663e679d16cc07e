"""One number along training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ncollapse.lab.train import Silent, State


@dataclass
class Curve(Silent):
    """Callback of `train`: read(state) every `every` epochs."""

    read: Callable[[State], float]
    every: int = 1
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def on_epoch_end(self, state: State) -> None:
        if state.epoch % self.every == 0:
            self.steps.append(state.step)
            self.values.append(self.read(state))

    def since(self, step: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Steps from `step` on, and the values there."""
        steps, values = np.array(self.steps, dtype=np.float64), np.array(self.values)
        return steps[steps >= step], values[steps >= step]
