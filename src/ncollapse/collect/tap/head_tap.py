"""HeadTap: what enters the layer that makes a model's logits; a first batch tells which that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ncollapse.collect.tap.batches import Tokens
from ncollapse.collect.tap.forms import form_of
from ncollapse.collect.tap.head_check import matched_token, weighted
from ncollapse.collect.tap.head_find import (
    SUM,
    Call,
    HeadNotFoundError,
    Heard,
    Outputs,
    matrices_beside,
    plain,
    scripted,
)
from ncollapse.collect.tap.head_layers import Matrix, parts_of
from ncollapse.collect.tap.heads import Candidate, Head, Loose, candidates
from ncollapse.collect.tap.listener import Listener
from ncollapse.collect.tap.matrices import Products, matrices
from ncollapse.collect.tap.outputs import unnested
from ncollapse.collect.tap.pooling import of_tokens
from ncollapse.collect.tap.relations import followed

CHECKED = 64
# So many products with matrices that no layer holds are kept of one pass, the last ones.
LAST = 4


class HeadTap:
    """Keeps what enters the head of the model that `listener` hears, one forward pass at a time.

    `asked` is the head's name or module, or the name of a matrix that no layer holds; None to find
    it, False for none. The layers that may be it are heard until the first batch tells which one
    makes the logits, then that one alone; `head` is known from there on.

    Raises ValueError for a model without a layer that can be a head (`otherwise` ends the sentence
    with what else could be done), and as `candidates` does.
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
        model, self._asked = listener.model, None
        # Layers, and matrices that no layer holds, which may be the head.
        self._layers: dict[str, Candidate] = {}
        self._loose: dict[str, Loose] = {}
        self.wants_products = isinstance(asked, str) and asked in matrices(model)
        if self.wants_products:
            self._asked = str(asked)
        elif asked is not False:
            name = None if isinstance(asked, bool) else asked
            found = candidates(model, name)
            if name is not None:
                # It may be one of two whose mean is returned.
                self._asked = found[0].name
                found += [one for one in candidates(model) if one.name != self._asked]
            self._layers = {one.name: one for one in found}
            if not found and (not matrices(model) or isinstance(model, torch.jit.ScriptModule)):
                raise HeadNotFoundError(
                    f"no linear layer was found in {type(model).__name__}{scripted(model)}; pass "
                    f"head=NAME of the layer that makes the logits{otherwise}"
                )
        self._handles: dict[str, RemovableHandle] = {}
        self._calls: dict[str, Call] = {}
        self._few: Tokens | None = None

    # ---- listening ----------------------------------------------------------------------------
    def open(self) -> None:
        """Begin to listen; closing the listener ends it."""
        self._handles = {
            name: self._listener.entering(layer.module, partial(self._keep, layer))
            for name, layer in self._layers.items()
        }

    def _keep(self, layer: Candidate, entered: Tensor, made: Any) -> None:
        if isinstance(made, Tensor):
            whole = unnested(entered)[0], unnested(made.detach())[0]
            self._hear(layer.name, *parts_of(layer.module, *whole))

    def _hear(self, name: str, entered: Tensor, made: Tensor) -> None:
        kept: Tensor | None = None
        if self._few is not None and self._compares:
            # A few tokens tell: a vocabulary times a whole batch is gigabytes.
            every = made.dim() == 3 and made.shape[:2] == (self._few.sequences, self._few.time)
            kept = of_tokens(made, self._few) if every else None
        elif self._compares:
            # What comes later may write into it.
            kept = made.clone()
        self._calls[name] = Call(entered, kept)

    @property
    def _compares(self) -> bool:
        head = self.head
        if head is None or head.take == "token" or head.relation.rank == 3:
            return True
        return not head.form.plain

    def products(self) -> AbstractContextManager[Any]:
        """Within it, products with matrices that no layer holds are heard: what `wants_products`
        asks for around a forward pass."""
        found = matrices(self._listener.model)
        only = self._asked if self.head is None else self.head.name
        known = found if only is None else {only: found[only]}

        def heard(
            name: str, entered: Tensor, bias: Tensor | None, made: Tensor, used: Tensor | None
        ) -> None:
            if self._listener.listening:
                self._loose.pop(name, None)  # The last one heard stands last.
                self._loose[name] = Loose(name, known[name], bias, used)
                self._hear(name, entered.detach().clone(), made.detach())
                for early in list(self._loose)[:-LAST]:
                    del self._loose[early], self._calls[early]

        model = self._listener.model
        return Products(known, heard, (*model.parameters(), *model.buffers()))

    def try_products(self) -> bool:
        """After no layer made the logits: whether a pass within `products` may tell more."""
        if self.wants_products or self._asked is not None or not matrices(self._listener.model):
            return False
        self.wants_products = True
        return True

    # ---- a pass -------------------------------------------------------------------------------
    def forget(self, tokens: Tokens | None = None) -> None:
        """Let go of the last forward pass; `tokens`: those of the next one that are samples."""
        self._calls, self._few = {}, None
        if tokens is not None:
            self._few = Tokens(tokens.positions[:CHECKED], tokens.sequences, tokens.time)

    @property
    def heard(self) -> bool:
        """Whether a pass went through the head, or through what may be it."""
        if self.head is None:
            return bool(self._calls)
        return all(name in self._calls for name in self.head.name.split(SUM))

    def features(self, outputs: Outputs, tokens: Tokens | None = None) -> Tensor:
        """What entered the head in the last pass that was heard.

        outputs: what the model made of it, by place; where those are of one token of a sequence, so
        are the features (without outputs: of all). tokens: those that are samples, (tokens, dim)
        then.

        Raises HeadNotFoundError, a ValueError, at the first pass without outputs, and where no
        layer makes one.
        """
        known = self._layers | dict(reversed(self._loose.items()))
        heard = Heard(self._calls, known, self._few, self._asked)
        if self.head is None:
            if not outputs:
                raise HeadNotFoundError(
                    "the model returned no logits that its head could be checked against; call the "
                    "whole model, which returns logits, .logits or a tuple that holds them"
                )
            aside = scripted(self._listener.model)
            with self._unheard():
                self.head = heard.head(outputs, otherwise=self._otherwise, aside=aside)
            self._settle(self.head)
        head = self.head
        call = heard.call(head.name.split(SUM))
        features, made = call.entered, call.made
        logits = dict(outputs).get(head.output)
        logits = None if logits is None else heard.few_rows(plain(logits))
        if not head.form.plain and made is not None:
            self._reform(head, heard.few_rows(features), made)
        if tokens is not None:
            features = of_tokens(features, tokens)
        features = head.form.features(features)
        if tokens is None and head.take == "token" and logits is not None and made is not None:
            rows = torch.arange(features.shape[0], device=features.device)
            place = matched_token(made, logits)
            features, made = features[rows, place], made[rows, place]
        elif tokens is None and head.take == "mean":
            features, made = features.mean(1), None if made is None else made.mean(1)
        if head.relation.rank == 3 and logits is not None and made is not None:
            self._rescale(made, logits)
        return features

    def _settle(self, head: Head) -> None:
        """Hear that head alone from here on."""
        names = head.name.split(SUM)
        for name in set(self._handles) - set(names):
            self._handles.pop(name).remove()
        self._layers = {name: self._layers[name] for name in names if name in self._layers}
        self._loose = {name: self._loose[name] for name in names if name in self._loose}
        self.wants_products = bool(self._loose)

    def _rescale(self, made: Tensor, logits: Tensor) -> None:
        """A scale may be learned, and a shift."""
        assert self.head is not None
        known = self.head.relation
        fresh = followed(made.flatten(0, -2), logits.flatten(0, -2), known)
        if fresh is not known:
            self.head = replace(self.head, relation=fresh)
            self.refresh()

    def _reform(self, head: Head, features: Tensor, made: Tensor) -> None:
        """So may the factor of a form, whose rows are those of now."""
        found = form_of(features.detach(), self._ways(head), made, only=head.form.name)
        if found is not None and abs(found[1].scale - head.form.scale) > 1e-6 * head.form.scale:
            self.head = replace(head, form=found[1])
            self.refresh()

    @contextmanager
    def _unheard(self) -> Iterator[None]:
        """Layers may be called within, and are not heard."""
        paused, self._listener.paused = self._listener.paused, True
        try:
            yield
        finally:
            self._listener.paused = paused

    # ---- a model that changes -----------------------------------------------------------------
    @property
    def replaced(self) -> bool:
        """Whether another module, or none, stands in the head's place now."""
        if self.head is None:
            return False
        modules = dict(self._listener.model.named_modules())
        held = matrices(self._listener.model)
        return any(modules.get(name) is not one.module for name, one in self._layers.items()) or (
            any(held.get(name) is not one.parameter for name, one in self._loose.items())
        )

    def refresh(self) -> None:
        """Read the head's weights anew: they were copied at the first batch."""
        head = self.head
        if head is None:
            return
        with self._unheard():
            # A head may grow.
            self.head = weighted(head, self._ways(head) or self._ways(head, grown=True))

    def _ways(self, head: Head, *, grown: bool = False) -> list[Matrix]:
        """The matrices that the head may be now; `grown`: of however many classes."""
        known: dict[str, Candidate | Loose] = {**self._layers, **self._loose}
        layers = [known[name] for name in head.name.split(SUM) if name in known]
        if len(layers) != len(head.dims):
            return []
        classes = 1 if head.binary else head.weight.shape[0]
        if head.probe:
            return layers[0].probed(head.dims[0], None if grown else classes, head.probe)
        return matrices_beside(layers, head.dims, None if grown else classes)
