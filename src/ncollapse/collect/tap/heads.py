"""Find the layers that may end a model, and check that one really makes the logits.

Features are what enters that layer, so pooling, norms and dropout before it are right by
construction; the check on the first batch catches every wrong guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.tap.head_layers import (
    Matrix,
    linears,
    matrices_from,
    matrices_of,
    others,
    whole,
)
from ncollapse.collect.tap.outputs import Path
from ncollapse.collect.tap.relations import Relation, close, gap, relation

# Where the libraries that users bring keep their classifier.
HUGGING_FACE = ("score", "classifier", "lm_head", "qa_outputs")
TORCHVISION = ("fc", "classifier", "heads", "head")
LAST = 4
# What is said beside the check of a head with one output.
ONE_LOGIT = ", one logit for two classes"
GUESSED = "last linear layer"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer that may be the head: name in the model, the module, and why it was thought of."""

    name: str
    module: nn.Module
    origin: str

    def matrices(self, dim: int, classes: int | None = None) -> list[Matrix]:
        """What (weight (classes, dim), bias) it may be, as it is now."""
        return matrices_of(self.module, dim, classes)


@dataclass(frozen=True, eq=False)
class Loose:
    """A parameter with two axes that is multiplied by outside of any layer, with its bias."""

    name: str
    parameter: Tensor
    bias: Tensor | None
    origin: str = "a matrix that no layer holds"

    def matrices(self, dim: int, classes: int | None = None) -> list[Matrix]:
        """As those of a Candidate: a square one may be read either way."""
        shift = None if self.bias is None else whole(self.bias).detach()
        return matrices_from(whole(self.parameter).detach(), shift, dim, classes, either=True)


@dataclass(frozen=True, eq=False)
class Head:
    """What makes the logits, checked: weight (classes, dim), bias (classes) or None, as it works on
    the features that are read. One logit for two classes stands as the rows -w/2 and w/2.

    take: which rows the logits are of: "all", one "token" of a sequence, the "mean" over tokens or
    places. check: what was compared, in words. output: where the model returns the logits. dims:
    widths of what enters each of the layers whose outputs are added up, one in most models.
    """

    name: str
    origin: str
    weight: Tensor
    bias: Tensor | None
    take: str
    check: str
    relation: Relation = field(default_factory=lambda: Relation("{made} = logits"))
    output: Path = ()
    dims: tuple[int, ...] = ()
    # Which of the ways to read a matrix of one's own was right.
    way: int = 0

    @property
    def token(self) -> bool:
        """Whether the logits are those of one token of a sequence."""
        return self.take == "token"

    @property
    def binary(self) -> bool:
        """Whether two classes are told by one logit."""
        return "one logit" in self.check

    @property
    def described(self) -> str:
        K, d = self.weight.shape
        return f"input of {self.name!r} (Linear {d}->{K}, {self.origin}): {self.check}"


def unwrap(model: nn.Module) -> nn.Module:
    """The module whose hooks fire: a compiled model's original, a parallel wrapper's inner."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, (nn.DataParallel, nn.parallel.DistributedDataParallel)
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def is_sharded(model: nn.Module) -> bool:
    """Whether parameters are spread over processes (FSDP2, tensor parallel): DTensors."""
    return any(hasattr(tensor, "full_tensor") for tensor in model.parameters())


def candidates(
    model: nn.Module, asked: str | nn.Module | None = None, *, linear: bool = False
) -> list[Candidate]:
    """Layers that may be the head, best guess first; only `asked` where one is asked for, and only
    those of nn.Linear with `linear`.

    Raises ValueError when the name is unknown or the module holds no layer that can be a head.
    """
    names = {id(module): name for name, module in model.named_modules()}
    if asked is not None:
        return [_asked(model, names, asked, linear)]
    found: list[Candidate] = []
    seen: set[int] = set()
    for layer, origin in _guesses(model, linear):
        if id(layer) not in seen and id(layer) in names:
            seen.add(id(layer))
            found.append(Candidate(names[id(layer)], layer, origin))
    return found


def _asked(
    model: nn.Module, names: dict[int, str], asked: str | nn.Module, linear: bool
) -> Candidate:
    module = asked
    if isinstance(asked, str):
        try:
            module = model.get_submodule(asked)
        except AttributeError:
            listed = ", ".join(names[id(m)] for m in list(linears(model))[:8])
            raise ValueError(
                f"head {asked!r} is no module of the model; its linear layers are: {listed}: pass "
                "one of those"
            ) from None
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"head={asked!r}; the name of a layer, a module of the model, or False for none is "
            "needed"
        )
    if id(module) not in names:
        raise ValueError(
            f"head is a {type(module).__name__} that the model does not hold; pass one of its own, "
            "or its name"
        )
    layer = next(_layers(module, linear), None)
    if layer is None:
        raise ValueError(
            f"head {names[id(module)]!r} ({type(module).__name__}) holds no linear layer with a "
            "weight (classes, dim), as is needed; pass the name of the layer that makes the logits"
        )
    return Candidate(names[id(layer)], layer, "asked for")


def _layers(module: nn.Module, linear: bool) -> Iterator[nn.Module]:
    yield from linears(module)
    if not linear:
        yield from others(module)


def _guesses(model: nn.Module, linear: bool) -> Iterator[tuple[nn.Module, str]]:
    getter = getattr(model, "get_classifier", None)
    named: list[tuple[Any, str]] = []
    if callable(getter):
        found = getter()
        parts = found if isinstance(found, (tuple, list)) else (found,)
        named = [(part, "get_classifier") for part in parts]
    for attribute in (*HUGGING_FACE, *TORCHVISION):
        named.append((getattr(model, attribute, None), "by name"))
    for part, origin in named:
        if isinstance(part, nn.Module):
            yield from ((layer, origin) for layer in _layers(part, linear))
    # Every candidate's input is kept for one batch, so only the last few are looked at.
    for layer in islice(linears(model), LAST):
        yield layer, GUESSED
    if not linear:
        for layer in islice(others(model), LAST // 2):
            yield layer, "last layer that is a matrix"


def check_head(
    name: str,
    origin: str,
    ways: list[Matrix],
    features: Tensor,
    made: Tensor,
    logits: Tensor,
    *,
    output: Path = (),
    dims: tuple[int, ...] = (),
) -> Head | str:
    """The head where `logits` come from it, else one phrase that says what disagrees.

    ways: the matrices (weight, bias) that it may be. features: what entered it; made: what it
    returned; logits: what the model returned; output, dims: as those of `Head`.
    """
    if made.dim() < 2 or made.shape[-1] != logits.shape[-1]:
        return f"it is {made.shape[-1]} wide, the logits {logits.shape[-1]}"
    way = next((i for i, one in enumerate(ways) if close(_linear(features, one), made)), None)
    if way is None:
        return "it is not linear: W h + b differs from what it returns"
    take, rows = "all", made
    found = relation(_flat(made), _flat(logits)) if made.dim() == logits.dim() else None
    if made.dim() == 3 and logits.dim() == 2:
        take = "token"
        place = matched_token(made, logits)
        rows = made[torch.arange(made.shape[0], device=made.device), place]
        found = relation(rows, logits)
        if found is None and (over := relation(made.mean(1), logits)) is not None:
            take, rows, found = "mean", made.mean(1), over
    if rows.shape != logits.shape:
        return f"it returns {tuple(made.shape)}, the model {tuple(logits.shape)}"
    if found is None:
        return f"its output differs from the logits by up to {gap(rows, logits):.2g}"
    check = found.words.format(made="head(features)")
    check += {"token": " at one token", "mean": " in the mean over tokens or places"}.get(take, "")
    if made.shape[-1] == 1:
        check += f"{ONE_LOGIT}, read as the rows -w/2 and w/2"
    if len(dims) > 1:
        check += f"; {len(dims)} heads are added up, and their features stand side by side"
    empty = Head(name, origin, features, None, take, check, found, output, dims, way)
    return weighted(empty, ways)


def _linear(features: Tensor, matrix: Matrix) -> Tensor:
    weight, bias = matrix
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        shift = None if bias is None else bias.to(features.dtype)
        return functional.linear(features, weight.to(features.dtype), shift)


def _flat(value: Tensor) -> Tensor:
    return value.flatten(0, -2)


def weighted(head: Head, ways: list[Matrix]) -> Head:
    """The head with copies of the matrix that makes the logits now."""
    if head.way >= len(ways):
        return head
    weight, bias = ways[head.way]
    scale = head.relation.scale
    weight = weight.cpu().clone() * scale if scale != 1 else weight.cpu().clone()
    shift = None if bias is None else bias.cpu().clone() * (scale if scale != 1 else 1)
    if head.binary:
        weight = torch.cat([-weight / 2, weight / 2])
        shift = None if shift is None else torch.cat([-shift / 2, shift / 2])
    return replace(head, weight=weight, bias=shift)


def matched_token(made: Tensor, logits: Tensor) -> Tensor:
    """The token (samples) of made (samples, tokens, classes) whose row the logits are: padding and
    the choice of a last or first token are right without knowing the model."""
    return (made - logits[:, None, :]).abs().amax(2).argmin(1)
