"""Find the layers that may end a model: candidates, and the head that one of them turns out to be.

Features are what enters that layer, so pooling, norms and dropout before it are right by
construction; the check on the first batch (`head_check`) catches every wrong guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from torch import Tensor, nn

from ncollapse.collect.tap.forms import LINEAR, Form
from ncollapse.collect.tap.head_layers import (
    Matrix,
    is_quantised,
    linear_maps,
    linears,
    matrices_from,
    matrices_of,
    others,
    whole,
)
from ncollapse.collect.tap.outputs import Path
from ncollapse.collect.tap.probe import may_be_probed, probed
from ncollapse.collect.tap.relations import Relation

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

    @property
    def rough(self) -> bool:
        """Whether it rounds what enters to few bits."""
        return is_quantised(self.module)

    def probed(self, dim: int, classes: int | None = None, axes: int = 2) -> list[Matrix]:
        """The matrix by which it maps vectors, where that may be another than it holds."""
        if not may_be_probed(self.module):
            return []
        return probed(self.module, dim, classes, axes)


@dataclass(frozen=True, eq=False)
class Loose:
    """A parameter with two axes that is multiplied by outside of any layer, with its bias. used:
    the matrix that was made of it and multiplied with, at the last pass, where it was not itself.
    """

    name: str
    parameter: Tensor
    bias: Tensor | None
    used: Tensor | None = None
    origin: str = "a matrix that no layer holds"
    rough = False

    def matrices(self, dim: int, classes: int | None = None) -> list[Matrix]:
        """As those of a Candidate: a square one may be read either way."""
        shift = None if self.bias is None else whole(self.bias).detach()
        matrix = whole(self.parameter if self.used is None else self.used).detach()
        return matrices_from(matrix, shift, dim, classes, either=True)

    def probed(self, dim: int, classes: int | None = None, axes: int = 2) -> list[Matrix]:
        """None: it is nothing that could be called."""
        return []


@dataclass(frozen=True, eq=False)
class Head:
    """What makes the logits, checked: weight (classes, dim), bias (classes) or None, as it works on
    the features that are read. One logit for two classes stands as the rows -w/2 and w/2.

    take: which rows the logits are of: "all", one "token" of a sequence, the "mean" over tokens or
    places. check: what was compared, in words. output: where the model returns the logits. dims:
    widths of what enters each of the layers whose outputs are added up, one in most models. form:
    how the layer makes what it makes. probe: axes of the layer's input where its matrix is read off
    its images of unit vectors, else 0. equal: whether rows and features each have one length.
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
    form: Form = LINEAR
    probe: int = 0
    equal: bool = False

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
        kind = "Cosine" if self.equal else self.form.name.capitalize()
        return f"input of {self.name!r} ({kind} {d}->{K}, {self.origin}): {self.check}"

    @property
    def note(self) -> str | None:
        """What must be known to read the numbers of a head that is not W h + b; None for others."""
        if self.form.name == "distance":
            return (
                f"{self.name!r} takes squared distances to prototypes; the head that is read is "
                "the linear one of the same order, twice the prototypes and minus their squared "
                "lengths"
            )
        if self.form.unit or self.equal:
            seen = "are read as h/‖h‖, which" if self.form.unit else "have one length, and that"
            kind = "cosine head" if self.equal or self.form.name == "cosine" else "unit features"
            return (
                f"{kind}: features {seen} is what {self.name!r} sees, so that how long features "
                "are plays no part in the readings"
            )
        if not self.form.plain:
            return f"{self.name!r} makes {self.form.words(self.bias is not None)}: W is read so"
        return None


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
    if linear:
        yield from linears(module)
        return
    yield from linear_maps(module)
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
    for layer in islice(linears(model) if linear else linear_maps(model), LAST):
        yield layer, GUESSED
    if not linear:
        for layer in islice(others(model), LAST // 2):
            yield layer, "last layer that is a matrix"
