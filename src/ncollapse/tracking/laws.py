"""Laws of training that a tracker holds its run against: today, that of the classifier's sum."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ncollapse.collect.tap.taps import Taps
from ncollapse.errors import NCollapseWarning
from ncollapse.measuring.measurement import Measurement
from ncollapse.tracking.head_breaks import LawReading
from ncollapse.tracking.head_law import HeadSum


class Laws:
    """What a tracker follows of an optimizer; nothing without one.

    Raises ValueError for a scheduler without an optimizer, and as `HeadSum` does.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer | None, scheduler: Any, head: Any
    ) -> None:
        self.model = model
        self.sum: HeadSum | None = None
        if optimizer is None and scheduler is not None:
            raise ValueError("a scheduler was passed and no optimizer; pass optimizer=… too")
        if optimizer is not None:
            named = head if isinstance(head, str | nn.Module) else None
            self.sum = HeadSum(model, optimizer, named, scheduler=scheduler)

    @property
    def reading(self) -> LawReading | None:
        """The law of the sum so far."""
        return None if self.sum is None else self.sum.reading()

    def step(self) -> None:
        """After every step that the loop believes to have made."""
        if self.sum is not None:
            self.sum.waited()

    def settle(self, taps: Taps) -> None:
        """The law is of the head that was found, whatever was guessed before."""
        if self.sum is None or taps.head is None:
            return
        module = dict(taps.model.named_modules()).get(taps.head.name)
        if module is None or module is self.sum.module:
            return
        if self.sum.steps:
            said = f"the law of the sum is followed of the head {taps.head.name!r} from here on"
            warnings.warn(said, NCollapseWarning, stacklevel=5)
        old = self.sum
        old.close()
        self.sum = HeadSum(self.model, old.optimizer, module, scheduler=old.scheduler)

    def told(self, found: Measurement) -> Measurement:
        """A measurement with what came of the laws in its config."""
        reading = self.reading
        if reading is None:
            return found
        config = {**found.document.config, "laws": [reading.to_dict()]}
        return replace(found, document=replace(found.document, config=config))

    def close(self) -> None:
        """Take the hooks off the optimizer."""
        if self.sum is not None:
            self.sum.close()
