"""Laws of training that a tracker holds its run against: today, that of the classifier's sum."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ncollapse.collect.tap.taps import Taps
from ncollapse.errors import NCollapseWarning
from ncollapse.measuring.measurement import Measurement
from ncollapse.record.readings import BREAKS, NO_LAW
from ncollapse.tracking.head_breaks import LawReading
from ncollapse.tracking.head_law import HeadSum, head_of, plain


class Laws:
    """What a tracker follows of the optimizer that steps its head; nothing without one.

    Of several optimizers (schedulers) the one that has the head (its own) is followed. `lenient`,
    inside somebody's trainer, makes what cannot be followed a reading that says so.

    Raises ValueError for a scheduler without an optimizer, and unless lenient as `HeadSum` does.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Optimizer | Sequence[Any] | None,
        schedulers: Any = None,
        head: Any = None,
        *,
        lenient: bool = False,
    ) -> None:
        self.model = model
        self.sum: HeadSum | None = None
        self._settled: str | None = None
        self._failed: LawReading | None = None
        several = isinstance(optimizers, Sequence)
        given = list(optimizers) if isinstance(optimizers, Sequence) else [optimizers]
        plans = list(schedulers) if isinstance(schedulers, list | tuple) else [schedulers]
        if optimizers is None:
            if schedulers is not None:
                raise ValueError("a scheduler was passed and no optimizer; pass optimizer=… too")
            return
        named = head if isinstance(head, str | nn.Module) else None
        try:
            optimizer = _stepping(model, given, named) if several else given[0]
            own = [one for one in plans if getattr(one, "optimizer", None) is optimizer]
            plan = (own or [None])[0] if several else plans[0]
            self.sum = HeadSum(model, optimizer, named, scheduler=plan)
        except ValueError as error:
            if not lenient:
                raise
            said = f"the law of the classifier's sum does not apply: {error}"
            self._failed = LawReading(NO_LAW, None, 0, ("unread",), (), said)

    @property
    def reading(self) -> LawReading | None:
        """The law of the sum so far."""
        return self._failed if self.sum is None else self.sum.reading()

    def step(self, taps: Taps | None = None) -> None:
        """Around every step that the loop believes to make, once."""
        if taps is not None:
            self.settle(taps)
        if self.sum is not None:
            self.sum.waited()

    def tries(self, optimizer: Any) -> None:
        """Before every step of one of several optimizers that a trainer believes to make."""
        if self.sum is not None and plain(optimizer) is self.sum.optimizer:
            self.sum.waited()

    def settle(self, taps: Taps) -> None:
        """The law is of the head that was found, whatever was guessed before."""
        if self.sum is None or taps.head is None or taps.head.name == self._settled:
            return
        self._settled = taps.head.name
        if taps.head.probe or not taps.head.form.plain:
            self.sum.close()  # Of a cosine head, or an adapter on one, it is no law.
            self.sum = None
            return
        module = dict(taps.model.named_modules()).get(taps.head.name)
        if module is None or module is self.sum.module:
            return
        if self.sum.steps > 1:
            said = f"the law of the sum is followed of the head {taps.head.name!r} from here on"
            warnings.warn(said, NCollapseWarning, stacklevel=5)
        old = self.sum
        try:
            new = HeadSum(self.model, old.optimizer, module, scheduler=old.scheduler)
        except ValueError:
            return  # The head is of another module than the one that the laws are followed of.
        old.close()
        self.sum = new

    def warn(self) -> None:
        """At the end of somebody's training: a law that breaks is worth a word."""
        reading = self.reading
        if reading is not None and reading.answer == BREAKS:
            warnings.warn(reading.sentence, NCollapseWarning, stacklevel=2)

    # ---- going on after an interruption -------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """What the law needs to go on; empty without one."""
        return {} if self.sum is None else {"law": self.sum.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint with steps behind it, whether or not it knew the law."""
        if self.sum is not None:
            self.sum.load_state_dict(state.get("law", {}))

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


def _stepping(model: nn.Module, optimizers: Sequence[Any], head: Any) -> Any:
    """The optimizer that has the head among its parameters, else the first."""
    if not optimizers:
        raise ValueError("optimizer is an empty list; the optimizer that steps the model is needed")
    module = dict(model.named_modules())[head_of(model, head)]
    weight = getattr(module, "weight", None)
    for one in map(plain, optimizers):
        groups = getattr(one, "param_groups", ())
        if any(held is weight for group in groups for held in group["params"]):
            return one
    return plain(optimizers[0])
