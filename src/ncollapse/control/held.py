"""HeldLoss: a loss that keeps a dial informed and adds its penalty, in any training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from ncollapse.collect.heads import Head, candidates, check_head, logits_of, unwrap

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
    then counts by its share. Labels of -100 are left out. `close` takes the hooks off.

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
        self.dial, self.loss = dial, loss
        self.model = unwrap(model)
        self.head: str | None = None
        self._candidates = candidates(self.model, head)
        if not self._candidates:
            raise ValueError(
                f"no linear layer was found in {type(self.model).__name__}; pass head=NAME of the "
                "layer that makes the logits"
            )
        self._caught: dict[str, tuple[Tensor, Tensor]] = {}
        self._handles: list[RemovableHandle] = [
            candidate.module.register_forward_hook(self._catcher(candidate.name))
            for candidate in self._candidates
        ]

    def close(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._caught = [], {}

    def _catcher(self, name: str) -> Any:
        def catch(module: nn.Module, inputs: Any, output: Any) -> None:
            if self.model.training and torch.is_grad_enabled():
                self._caught[name] = (inputs[0], output.detach())

        return catch

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        logits = logits_of(outputs)
        if logits is None:
            raise ValueError(
                f"a {type(outputs).__name__} without logits was passed; logits, or what a model "
                "returns that holds them, are needed"
            )
        kept = labels != -100
        value = self.loss(logits[kept], labels[kept])
        if self.model.training and torch.is_grad_enabled():
            self.dial.observe(self._features(logits)[kept], labels[kept])
            value = value + self.dial.penalty().to(value.dtype)
        self._caught = {}
        if num_items_in_batch is not None:
            value = value * (kept.sum() / num_items_in_batch)
        return value

    def _features(self, logits: Tensor) -> Tensor:
        if not self._caught:
            raise ValueError(
                "no forward pass of the model was heard before this loss; call the model that "
                "HeldLoss was made with, in training mode"
            )
        if self.head is None:
            self.head = self._choose(logits.detach()).name
        features = self._caught[self.head][0]
        if features.dim() != 2:
            raise ValueError(
                f"features of shape {tuple(features.shape)} enter {self.head!r}; (samples, dim) "
                "is needed: pool before the head, or hold each part in a loop of your own"
            )
        return features

    def _choose(self, logits: Tensor) -> Head:
        reasons = []
        for candidate in self._candidates:
            if candidate.name not in self._caught:
                continue
            features, made = self._caught[candidate.name]
            found = check_head(candidate, features.detach(), made, logits)
            if isinstance(found, Head):
                return found
            reasons.append(f"{candidate.name!r}: {found}")
        raise ValueError(
            f"no linear layer reproduces the logits ({'; '.join(reasons[:4])}); pass head=NAME of "
            "the layer whose output the model returns"
        )
