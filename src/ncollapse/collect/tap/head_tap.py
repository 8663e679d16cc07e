"""HeadTap: what enters the layer that makes a model's logits; a first batch tells which that is."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ncollapse.collect.tap.batches import Tokens
from ncollapse.collect.tap.heads import Head, candidates, check_head, current, matched_token
from ncollapse.collect.tap.listener import Listener
from ncollapse.collect.tap.pooling import of_tokens

CHECKED = 64


class HeadTap:
    """Keeps what enters the head of the model that `listener` hears, one forward pass at a time.

    `asked` is the head's name or module, None to find it, False for none. The layers that may be it
    are heard until the first batch tells which one makes the logits, then that one alone; `head` is
    known from there on.

    Raises ValueError for a model without a linear layer (`otherwise` ends the sentence with what
    else could be done), and as `candidates` does.
    """

    def __init__(
        self,
        listener: Listener,
        asked: str | nn.Module | bool | None = None,
        *,
        otherwise: str = "",
    ) -> None:
        self._listener, self._otherwise = listener, otherwise
        self.head: Head | None = None
        name = None if isinstance(asked, bool) else asked
        self._candidates = [] if asked is False else candidates(listener.model, name)
        if asked is not False and not self._candidates:
            raise ValueError(
                f"no linear layer was found in {type(listener.model).__name__}; pass head=NAME of "
                f"the layer that makes the logits{otherwise}"
            )
        self._handles: dict[str, RemovableHandle] = {}
        self._entered: dict[str, tuple[Tensor, Tensor]] = {}

    def open(self) -> None:
        """Begin to listen; closing the listener ends it."""
        self._handles = {
            candidate.name: self._listener.entering(
                candidate.module, partial(self._keep, candidate.name)
            )
            for candidate in self._candidates
        }

    def _keep(self, name: str, entered: Tensor, made: Any) -> None:
        if isinstance(made, Tensor):
            self._entered[name] = (entered, made.detach())

    def forget(self) -> None:
        """Let go of the last forward pass."""
        self._entered = {}

    @property
    def heard(self) -> bool:
        """Whether a pass went through the head, or through what may be it."""
        return bool(self._entered) if self.head is None else self.head.name in self._entered

    def features(self, logits: Tensor | None, tokens: Tokens | None = None) -> Tensor:
        """What entered the head in the last pass that was heard.

        logits: what the model made of it; where they are those of one token of a sequence, so are
        the features (without logits: of all). tokens: those that are samples, (tokens, dim) then.

        Raises ValueError at the first pass without logits, and where no layer makes them.
        """
        if self.head is None:
            self.head = self._find(logits, tokens)
        features, made = self._entered[self.head.name]
        if tokens is not None:
            return of_tokens(features, tokens)
        if self.head.token and logits is not None:
            rows = torch.arange(features.shape[0], device=features.device)
            features = features[rows, matched_token(made, logits)]
        return features

    def _find(self, logits: Tensor | None, tokens: Tokens | None) -> Head:
        if logits is None:
            raise ValueError(
                "the model returned no logits that its head could be checked against; call the "
                "whole model, which returns logits, .logits or a tuple that starts with them"
            )
        few = None
        if tokens is not None:
            # A few tokens tell: a vocabulary times a whole batch is gigabytes.
            few = Tokens(tokens.positions[:CHECKED], tokens.sequences, tokens.time)
            logits = of_tokens(logits, few)
        reasons = []
        for candidate in self._candidates:
            if candidate.name not in self._entered:
                reasons.append(f"{candidate.name!r}: its tap did not fire")
                continue
            features, made = (part.detach() for part in self._entered[candidate.name])
            if few is not None:
                features, made = of_tokens(features, few), of_tokens(made, few)
            found = check_head(candidate, features, made, logits)
            if isinstance(found, Head):
                for name in set(self._handles) - {candidate.name}:
                    self._handles.pop(name).remove()
                self._candidates = [candidate]
                return found
            reasons.append(f"{candidate.name!r}: {found}")
        listed = "; ".join(reasons[:4]) + ("; …" if len(reasons) > 4 else "")
        raise ValueError(
            f"no linear layer reproduces the logits ({listed}); pass head=NAME of the layer whose "
            f"output the model returns{self._otherwise}"
        )

    @property
    def module(self) -> nn.Module:
        """The layer that is the head."""
        assert self.head is not None
        return next(one.module for one in self._candidates if one.name == self.head.name)

    def refresh(self) -> None:
        """Read the head's weights anew: they were copied at the first batch."""
        if self.head is not None:
            self.head = current(self.head, self.module)
