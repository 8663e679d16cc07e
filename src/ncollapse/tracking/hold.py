"""Hold: a dial in somebody's training loop, told of every batch; its penalty and its readings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.tap.batches import unpack_batch
from ncollapse.collect.tap.taps import HEAD
from ncollapse.control.catcher import Catcher
from ncollapse.control.held import Dial
from ncollapse.errors import NCollapseWarning
from ncollapse.record.trace import DIAL, SATURATED, TARGET, WEIGHT

READING = "reading"
SIDES = {None: 0.0, "pull": 1.0, "push": -1.0}


class Hold:
    """A dial (observe, penalty) with what catches the features that enter the model's head.

    `readings` gives, of what the dial has, under split `dial` and layer `head`: its reading by the
    name of its metric (else `reading`), `target`, `weight` (positive while it pulls) and
    `saturated`: 1 at the bound of the pull, -1 at that of the push, else 0.

    Raises ValueError for a dial without observe and penalty, head=False, and as `Catcher` does.
    """

    def __init__(self, dial: Dial, model: nn.Module, head: Any = None) -> None:
        check_dial(dial)
        if head is False:
            raise ValueError(
                "head=False with a dial: it holds the features that enter the head; drop "
                "head=False or dial=…"
            )
        self.dial = dial
        self.catcher = Catcher(model, None if head is True else head)
        self._asked = self._said = False

    def penalty(self, target: Any) -> Tensor:
        """Tell the dial of the last forward pass and its labels (samples); what to add to the loss.

        Zero in eval mode and without gradients, where nothing is told. Raises ValueError as
        `Catcher.take` and the dial do.
        """
        labels = unpack_batch((None, target)).labels
        if not self.catcher.listening:
            return torch.zeros((), device=labels.device)
        self.dial.observe(*self.catcher.take(labels))
        self._asked = True
        return self.dial.penalty()

    def step(self, *, expected: bool = False) -> None:
        """After every optimizer step: says once that one went by without its penalty, heard or,
        where one is `expected`, not heard."""
        missed = not self._asked and (expected or self.catcher.pending)
        self._asked = False
        self.catcher.forget()
        if missed and not self._said:
            self._said = True
            warnings.warn(
                "a step was made without the dial's penalty, so it holds nothing: add "
                "tracker.penalty(labels) to the loss of every batch; in Lightning, name by model=… "
                "the module that makes the logits",
                NCollapseWarning,
                stacklevel=3,
            )

    def readings(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """What the dial says of itself, by split, layer and key; None for what is not known yet."""
        metric = getattr(self.dial, "metric", None)
        found: dict[str, float | None] = {}
        for name in (READING, TARGET, WEIGHT):
            value = getattr(self.dial, name, None)
            if isinstance(value, (int, float)):
                key = metric if name == READING and isinstance(metric, str) else name
                found[key] = float(value) if math.isfinite(value) else None
        side = getattr(self.dial, SATURATED, "")
        if side in SIDES:
            found[SATURATED] = SIDES[side]
        return {DIAL: {HEAD: found}} if found else {}

    def state_dict(self) -> dict[str, Any]:
        """The dial's state; empty for a dial that has none."""
        save = getattr(self.dial, "state_dict", None)
        return dict(save()) if callable(save) else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; an empty one is passed over."""
        if state:
            self.dial.load_state_dict(dict(state))  # type: ignore[attr-defined]

    def close(self) -> None:
        """Take the hooks off the model."""
        self.catcher.close()


def check_dial(dial: Any) -> None:
    """Raises ValueError for what has no observe and penalty."""
    if not isinstance(dial, Dial) or isinstance(dial, type):
        what = dial.__name__ if isinstance(dial, type) else type(dial).__name__
        raise ValueError(
            f"dial is {what}; an object with observe(features, target) and penalty() is needed, "
            "for example ncollapse.control.Thermostat(target=0.1)"
        )
