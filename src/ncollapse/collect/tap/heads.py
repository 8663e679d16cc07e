"""Find the linear layer that ends a model, and check that it really makes the logits.

Features are what enters that layer, so pooling, norms and dropout before it are right by
construction; the check on the first batch catches every wrong guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Where the libraries that users bring keep their classifier.
HUGGING_FACE = ("score", "classifier", "lm_head", "qa_outputs")
TORCHVISION = ("fc", "classifier", "heads", "head")
LAST = 4
DTYPE_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer that may be the head: name in the model, the module, and why it was thought of."""

    name: str
    module: nn.Module
    origin: str


@dataclass(frozen=True, eq=False)
class Head:
    """The layer that makes the logits, checked: weight (classes, dim), bias (classes) or None.

    token: the logits are those of one token of a sequence. check: what was compared, in words.
    """

    name: str
    origin: str
    weight: Tensor
    bias: Tensor | None
    token: bool
    check: str

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


def whole(tensor: Tensor) -> Tensor:
    """A parameter in full: gathered from all ranks where it is sharded (a collective call)."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def logits_of(output: Any) -> Tensor | None:
    """Logits in what a model returned: the tensor, `.logits`, ["logits"], or the first tensor."""
    if isinstance(output, Tensor):
        return output
    found = output.get("logits") if isinstance(output, Mapping) else None
    found = getattr(output, "logits", None) if found is None else found
    if isinstance(found, Tensor):
        return found
    if isinstance(output, (tuple, list)) and output:
        return logits_of(output[0])
    return None


def candidates(model: nn.Module, asked: str | nn.Module | None = None) -> list[Candidate]:
    """Layers that may be the head, best guess first; only `asked` where one is asked for.

    Raises ValueError when the name is unknown or the module holds no linear layer.
    """
    names = {id(module): name for name, module in model.named_modules()}
    if asked is not None:
        return [_asked(model, names, asked)]
    found: list[Candidate] = []
    seen: set[int] = set()
    for module, origin in _guesses(model):
        for linear in _linears(module):
            if id(linear) not in seen and id(linear) in names:
                seen.add(id(linear))
                found.append(Candidate(names[id(linear)], linear, origin))
    return found


def _asked(model: nn.Module, names: dict[int, str], asked: str | nn.Module) -> Candidate:
    module = asked
    if isinstance(asked, str):
        try:
            module = model.get_submodule(asked)
        except AttributeError:
            linears = ", ".join(names[id(m)] for m in list(_linears(model))[:8])
            raise ValueError(
                f"head {asked!r} is no module of the model; its linear layers are: {linears}"
            ) from None
    assert isinstance(module, nn.Module)
    if id(module) not in names:
        raise ValueError("head is a module that the model does not hold; pass one of its own")
    linear = next(_linears(module), None)
    if linear is None:
        raise ValueError(
            f"head {names[id(module)]!r} ({type(module).__name__}) holds no linear layer with a "
            "weight (classes, dim)"
        )
    return Candidate(names[id(linear)], linear, "asked for")


def _guesses(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    getter = getattr(model, "get_classifier", None)
    if callable(getter):
        found = getter()
        parts = found if isinstance(found, (tuple, list)) else (found,)
        yield from ((part, "get_classifier") for part in parts if isinstance(part, nn.Module))
    for attributes, origin in ((HUGGING_FACE, "by name"), (TORCHVISION, "by name")):
        for attribute in attributes:
            found = getattr(model, attribute, None)
            if isinstance(found, nn.Module):
                yield found, origin
    # Every candidate's input is kept for one batch, so only the last few are looked at.
    for linear in islice(_linears(model), LAST):
        yield linear, "last linear layer"


def _linears(module: nn.Module) -> Iterator[nn.Module]:
    """Linear layers inside, last first."""
    for part in reversed(list(module.modules())):
        weight = getattr(part, "weight", None)
        if isinstance(part, nn.Linear) and isinstance(weight, Tensor) and weight.dim() == 2:
            yield part


def check_head(candidate: Candidate, features: Tensor, made: Tensor, logits: Tensor) -> Head | str:
    """The head where `logits` come from it, else one phrase that says what disagrees.

    features: what entered the layer; made: what it returned; logits: what the model returned.
    """
    weight, bias = candidate.module.weight, candidate.module.bias
    assert isinstance(weight, Tensor)
    weight = whole(weight)
    bias = whole(bias) if isinstance(bias, Tensor) else bias
    if made.shape[-1] != logits.shape[-1]:
        return f"it is {made.shape[-1]} wide, the logits {logits.shape[-1]}"
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        shift = bias.to(features.dtype) if isinstance(bias, Tensor) else None
        linear = functional.linear(features, weight.to(features.dtype), shift)
    if not _close(linear, made):
        return "it is not linear: W h + b differs from what it returns"
    token = made.dim() == 3 and logits.dim() == 2
    if token:
        place = matched_token(made, logits)
        made = made[torch.arange(made.shape[0]), place]
    if made.shape != logits.shape:
        return f"it returns {tuple(made.shape)}, the model {tuple(logits.shape)}"
    check = "head(features) = logits"
    if not _close(made, logits):
        gap = made.double() - logits.double()
        gap = gap - gap.mean(-1, keepdim=True)
        if not _close(gap, torch.zeros_like(gap), made.double().abs().max(), made.dtype):
            return f"its output differs from the logits by up to {float(gap.abs().max()):.2g}"
        check = "head(features) = logits up to a constant a sample (log-softmax)"
    check += " at one token" if token else ""
    empty = Head(candidate.name, candidate.origin, weight, None, token, check)
    return current(empty, candidate.module)


def current(head: Head, module: nn.Module) -> Head:
    """The head with a copy of the weights that its layer has now."""
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    shift = whole(bias).detach().cpu().clone() if isinstance(bias, Tensor) else None
    return replace(head, weight=whole(weight).detach().cpu().clone(), bias=shift)


def matched_token(made: Tensor, logits: Tensor) -> Tensor:
    """The token (samples) of made (samples, tokens, classes) whose row the logits are: padding and
    the choice of a last or first token are right without knowing the model."""
    return (made - logits[:, None, :]).abs().amax(2).argmin(1)


def _close(
    a: Tensor, b: Tensor, scale: Tensor | None = None, dtype: torch.dtype | None = None
) -> bool:
    if a.shape != b.shape:
        return False
    tolerance = DTYPE_TOLERANCE.get(dtype or b.dtype, 3e-2)
    size = b.double().abs().max() if scale is None else scale
    return bool((a.double() - b.double()).abs().max() <= tolerance * size.clamp_min(1e-6))
