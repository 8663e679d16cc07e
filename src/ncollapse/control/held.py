"""HeldLoss: a loss that keeps a dial informed and adds its penalty, in any training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.tap.outputs import logits_of
from ncollapse.control.catcher import IGNORED, Catcher

Loss = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class Dial(Protocol):
    """What is held: told the features (samples, d) and labels (samples) of every batch, it gives
    a penalty that carries their gradients. `Thermostat` is one."""

    def observe(self, features: Tensor, target: Tensor) -> Any: ...

    def penalty(self) -> Tensor: ...


class HeldLoss:
    """loss(logits, labels) + dial.penalty() in training mode, the loss alone in evaluation.

    The features that enter the head are caught by a hook, with their gradients, during the
    model's own forward pass; the head is found as in `ncollapse.measure` and checked on the first
    batch (`head` names it). `loss` is a mean over samples (cross-entropy by default). The first
    argument may be logits or whatever a model returns that holds them, so the same object serves

    >>> held = HeldLoss(dial, model)                                   # doctest: +SKIP
    >>> held(model(inputs), labels).backward()    # a plain loop       # doctest: +SKIP
    >>> return self.held(self.net(x), y)          # training_step of Lightning   # doctest: +SKIP
    >>> Trainer(model, compute_loss_func=held)    # Hugging Face       # doctest: +SKIP

    With gradient accumulation the Trainer passes the number of samples of all parts; each part
    then counts by its share. Labels of -100 are left out. `close` takes the hooks off. Where the
    loss is not yours to write, `Tracker` or a `CollapseCallback` takes the dial instead.

    Raises ValueError for a model without a linear head, a head that does not make the logits, and
    a loss asked for before a forward pass.
    """

    def __init__(
        self,
        dial: Dial,
        model: nn.Module,
        loss: Loss = functional.cross_entropy,
        *,
        head: str | nn.Module | None = None,
    ) -> None:
        if not (hasattr(dial, "observe") and hasattr(dial, "penalty")):
            raise ValueError(
                f"dial is a {type(dial).__name__}; an object with observe(features, target) and "
                "penalty() is needed, for example ncollapse.control.Thermostat(target=0.1)"
            )
        self.dial, self.loss = dial, loss
        self._catcher = Catcher(model, head)

    @property
    def head(self) -> str | None:
        """The name of the head, known after the first batch."""
        found = self._catcher.head
        return None if found is None else found.name

    def close(self) -> None:
        """Take the hooks off the model."""
        self._catcher.close()

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        logits = logits_of(outputs)
        if logits is None:
            raise ValueError(
                f"a {type(outputs).__name__} without logits was passed; logits, or what a model "
                "returns that holds them, are needed"
            )
        given = outputs if isinstance(outputs, Tensor) else None
        caught = self._catcher.take(labels, given) if self._catcher.listening else None
        head = self._catcher.head
        if given is None and head is not None:
            # Which of several outputs are the logits is known once a pass was taken.
            found = logits_of(outputs, head.output)
            logits = logits if found is None else found
        kept = labels != IGNORED
        value = self.loss(logits[kept], labels[kept])
        if caught is not None:
            self.dial.observe(*caught)
            value = value + self.dial.penalty().to(value.dtype)
        self._catcher.forget()
        if num_items_in_batch is not None:
            value = value * kept.sum() / num_items_in_batch
        return value
