"""Catcher: what enters the head of a model, with its gradients, in the model's own forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ncollapse.collect.tap.heads import (
    Head,
    candidates,
    check_head,
    logits_of,
    matched_token,
    unwrap,
)
from ncollapse.collect.tap.hooks import Hook

IGNORED = -100


class Catcher:
    """Catches the features that enter the head, by hooks, in training mode with gradients on.

    The head is found as in `ncollapse.measure` (`head` names it, or is the module) and checked on
    the first batch against the logits; later passes hook that layer alone. Where the logits are
    those of one token of a sequence, so are the features. The last pass counts; copies of the
    model carry no hooks; `close` takes them off.

    Raises ValueError for a model without a linear layer, and for names that it does not have.
    """

    def __init__(self, model: nn.Module, head: str | nn.Module | None = None) -> None:
        self.model = unwrap(model)
        self.head: Head | None = None
        self._candidates = candidates(self.model, head)
        if not self._candidates:
            raise ValueError(
                f"no linear layer was found in {type(self.model).__name__}; pass head=NAME of the "
                "layer that makes the logits"
            )
        self._caught: dict[str, tuple[Tensor, Tensor]] = {}
        self._logits: Tensor | None = None
        self._handles: dict[str | None, RemovableHandle] = {
            candidate.name: candidate.module.register_forward_hook(
                Hook(self._catch(candidate.name))
            )
            for candidate in self._candidates
        }
        self._handles[None] = self.model.register_forward_hook(Hook(self._listen))

    def close(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles.values():
            handle.remove()
        self._handles = {}
        self.forget()

    def forget(self) -> None:
        """Let go of the last forward pass."""
        self._caught, self._logits = {}, None

    @property
    def listening(self) -> bool:
        """Whether a forward pass made now would be caught."""
        return self.model.training and torch.is_grad_enabled()

    @property
    def pending(self) -> bool:
        """Whether a forward pass waits to be taken."""
        return bool(self._caught)

    def take(self, labels: Tensor, logits: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features (samples, dim) of the last forward pass and their labels, once.

        labels: (samples); those of -100 are left out on both sides. logits: what the head is
        checked against; by default what the model returned.

        Raises ValueError when no forward pass was heard, no linear layer makes the logits, the
        features are no (samples, dim), or the labels are not as many.
        """
        if not self._caught:
            raise ValueError(
                "no forward pass of the model was heard before this; call model(inputs) of the "
                "model that was passed, in training mode, once before every penalty"
            )
        made = self._logits if logits is None else logits.detach()
        try:
            features = self._features(made)
        finally:
            self.forget()
        if features.shape[0] != labels.shape[0]:
            raise ValueError(
                f"{labels.shape[0]} labels were passed for the {features.shape[0]} samples of the "
                "last forward pass; pass the labels of that batch"
            )
        labels = labels.to(features.device)
        kept = labels != IGNORED
        return features[kept], labels[kept]

    # ---- hooks --------------------------------------------------------------------------------
    def _catch(self, name: str) -> Any:
        def catch(_: nn.Module, inputs: Any, output: Any) -> None:
            if self.listening and inputs and isinstance(inputs[0], Tensor):
                self._caught[name] = (inputs[0], output.detach())

        return catch

    def _listen(self, _: nn.Module, __: Any, output: Any) -> None:
        if self.listening:
            found = logits_of(output)
            self._logits = None if found is None else found.detach()

    # ---- the head -----------------------------------------------------------------------------
    def _features(self, logits: Tensor | None) -> Tensor:
        if self.head is None:
            self.head = self._choose(logits)
        features, made = self._caught[self.head.name]
        if self.head.token and logits is not None:
            rows = torch.arange(features.shape[0], device=features.device)
            features = features[rows, matched_token(made, logits)]
        if features.dim() != 2:
            raise ValueError(
                f"features of shape {tuple(features.shape)} enter {self.head.name!r}; (samples, "
                "dim) is needed: pool before the head, or hold each part in a loop of your own"
            )
        return features

    def _choose(self, logits: Tensor | None) -> Head:
        if logits is None:
            raise ValueError(
                "the model returned no logits that its head could be checked against; call the "
                "whole model, which returns logits, .logits or a tuple that starts with them"
            )
        reasons = []
        for candidate in self._candidates:
            if candidate.name not in self._caught:
                continue
            features, made = self._caught[candidate.name]
            found = check_head(candidate, features.detach(), made, logits)
            if isinstance(found, Head):
                for name in [n for n in self._handles if n not in (candidate.name, None)]:
                    self._handles.pop(name).remove()
                return found
            reasons.append(f"{candidate.name!r}: {found}")
        raise ValueError(
            f"no linear layer reproduces the logits ({'; '.join(reasons[:4])}); pass head=NAME of "
            "the layer whose output the model returns"
        )
