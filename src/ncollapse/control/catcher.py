"""Catcher: what enters the head of a model, with its gradients, in the model's own forward pass."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ncollapse.collect.tap.given import module_of
from ncollapse.collect.tap.head_tap import HeadTap
from ncollapse.collect.tap.heads import Head
from ncollapse.collect.tap.listener import Listener, in_training
from ncollapse.collect.tap.outputs import Path, outputs_of

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
        self._listener = Listener(module_of(model), in_training, gradients=True)
        self._head_tap = HeadTap(self._listener, head)
        self._outputs: list[tuple[Path, Tensor]] = []
        self._head_tap.open()
        self._listener.leaving(self._listener.model, self._returned)

    def _returned(self, output: Any) -> None:
        self._outputs = [(place, one.detach()) for place, one in outputs_of(output)]

    @property
    def head(self) -> Head | None:
        """The head, known after the first batch that was taken."""
        return self._head_tap.head

    @property
    def listening(self) -> bool:
        """Whether a forward pass made now would be caught."""
        return self._listener.listening

    @property
    def pending(self) -> bool:
        """Whether a forward pass waits to be taken."""
        return self._head_tap.heard

    def forget(self) -> None:
        """Let go of the last forward pass."""
        self._head_tap.forget()
        self._outputs = []

    def close(self) -> None:
        """Take the hooks off the model."""
        self._listener.close()
        self.forget()

    def take(self, labels: Tensor, logits: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features (samples, dim) of the last forward pass and their labels, once.

        labels: (samples); those of -100 are left out on both sides. logits: what the head is
        checked against; by default what the model returned.

        Raises ValueError when no forward pass was heard, no linear layer makes the logits, the
        features are no (samples, dim), or the labels are not as many.
        """
        self._listener.check()
        if not self.pending:
            raise ValueError(
                "no forward pass of the model was heard before this; call model(inputs) of the "
                "model that was passed, in training mode, once before every penalty"
            )
        made = self._outputs if logits is None else outputs_of(logits.detach())
        try:
            features = self._head_tap.features(made)
        finally:
            self.forget()
        if features.dim() != 2:
            assert self.head is not None
            raise ValueError(
                f"features of shape {tuple(features.shape)} enter {self.head.name!r}; (samples, "
                "dim) is needed: pool before the head, or hold each part in a loop of your own"
            )
        if features.shape[0] != labels.shape[0]:
            raise ValueError(
                f"{labels.shape[0]} labels were passed for the {features.shape[0]} samples of the "
                "last forward pass; pass the labels of that batch"
            )
        labels = labels.to(features.device)
        kept = labels != IGNORED
        return features[kept], labels[kept]
