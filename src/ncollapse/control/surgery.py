"""Put a fixed head into a model in place, and say what it saves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.tap.given import module_of
from ncollapse.collect.tap.heads import Candidate, candidates, unwrap
from ncollapse.collect.tap.preserve import preserved
from ncollapse.collect.tap.taps import Taps
from ncollapse.control.codes import CodeHead
from ncollapse.control.heads import GeometryHead, OrthogonalHead, SimplexHead
from ncollapse.control.narrow import narrow_last_block
from ncollapse.control.nearest import NearestFrameHead
from ncollapse.geometry import Geometry

HEADS = {
    "simplex": SimplexHead,
    "orthogonal": OrthogonalHead,
    "nearest": NearestFrameHead,
    "code": CodeHead,
}
HeadMaker = Callable[[int, int], nn.Module]


@dataclass(frozen=True)
class Footprint:
    """What a model holds: numbers of parameters, of those that are trained, and of buffer entries;
    bytes of parameters and buffers."""

    parameters: int
    trained: int
    buffers: int
    bytes: int

    @classmethod
    def of(cls, model: nn.Module) -> Footprint:
        """Shared tensors count once."""
        parameters, buffers = list(model.parameters()), list(model.buffers())
        return cls(
            parameters=sum(p.numel() for p in parameters),
            trained=sum(p.numel() for p in parameters if p.requires_grad),
            buffers=sum(b.numel() for b in buffers),
            bytes=sum(t.numel() * t.element_size() for t in (*parameters, *buffers)),
        )


@dataclass(frozen=True, eq=False)
class Surgery:
    """What `fix_head` did. name: of the replaced layer; head: the new one; bottleneck: "none", the
    narrowed block's name, or "projection"; checked: how the head was recognised, in words."""

    name: str
    head: nn.Module
    bottleneck: str
    checked: str
    before: Footprint
    after: Footprint

    @property
    def parameters_saved(self) -> int:
        """Negative where the change costs parameters."""
        return self.before.parameters - self.after.parameters

    @property
    def share_saved(self) -> float:
        """Of the parameters before."""
        return self.parameters_saved / max(self.before.parameters, 1)

    @property
    def buffers_added(self) -> int:
        return self.after.buffers - self.before.buffers

    @property
    def bytes_saved(self) -> int:
        """Of parameters and buffers together."""
        return self.before.bytes - self.after.bytes

    def optimizer_saved(self, states: int = 1) -> int:
        """Numbers an optimiser keeps less: `states` per trained parameter (SGD with momentum 1,
        Adam 2)."""
        return states * (self.before.trained - self.after.trained)

    def __str__(self) -> str:
        saved = self.parameters_saved
        verb = "saves" if saved >= 0 else "COSTS"
        adam = self.optimizer_saved(2)
        where = {
            "none": "features keep their width",
            "projection": "a projection stands before it",
        }.get(self.bottleneck, f"block {self.bottleneck} is narrowed")
        return (
            f"{type(self.head).__name__} at {self.name!r} ({self.checked}); {where}. "
            f"Parameters {self.before.parameters:,} -> {self.after.parameters:,}: {verb} "
            f"{abs(saved):,} ({abs(self.share_saved):.2%}); buffers "
            f"{self.before.buffers:,} -> {self.after.buffers:,}; Adam keeps "
            f"{abs(adam):,} numbers {'less' if adam >= 0 else 'more'}"
        )


def fix_head(
    model: nn.Module,
    *,
    head: str | HeadMaker | Geometry = "simplex",
    name: str | None = None,
    bottleneck: bool = False,
    bias: bool | None = None,
    seed: int = 0,
    inputs: Any = None,
    **settings: Any,
) -> Surgery:
    """Replace a model's classifier by a fixed one, in place.

    head: "simplex", "orthogonal", "nearest", "code", a Geometry, or a function of (in_features,
    num_classes). name: the layer to replace; found where it is not given (torchvision, timm,
    Hugging Face, or the last linear layer). inputs: a batch (tensor, or a mapping of keyword
    arguments) to check on that this layer makes the logits; without it the guess is unchecked.
    bias: None keeps the old one, which is learned further. settings: scale, learn_scale, normalize,
    centre … of the head.

    bottleneck=True makes features as wide as there are classes, d = K. The last block of a
    torchvision or timm ResNet (BasicBlock, Bottleneck) puts out K channels, which saves
    parameters while K is small beside its width; ResNet-18 with 10 classes falls from 11,181,642
    to 8,867,442. The new layers are drawn with `seed`, and as the block ends in a ReLU the frame
    lies along the axes. Every other model gets a projection d → K, which saves nothing.

    Do this before the optimiser is made and before the model is wrapped for parallel training.
    Raises ValueError for a model without a linear head, one that is wrapped, a head that does not
    make the logits of `inputs`, an unknown head, and widths that cannot hold the frame.
    Source: Zhu et al. 2021.

    >>> print(fix_head(torchvision.models.resnet18(num_classes=10)))    # doctest: +SKIP
    """
    model = module_of(model)
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        raise ValueError(
            f"the model is wrapped in {type(model).__name__}; fix the head first, then wrap it"
        )
    model = unwrap(model)
    found, checked = _find(model, name, inputs)
    old = found.module
    if not isinstance(old, nn.Linear) or not found.name:
        raise ValueError(
            "the model is a single linear layer, which cannot be replaced in place; put it into a "
            "Module that holds it, as nn.Sequential(model)"
        )
    K, d = old.out_features, old.in_features
    start: bool | Tensor = False
    if isinstance(old.bias, Tensor) and bias is not False:
        start = old.bias.detach().cpu()
    elif bias:
        start = True
    # Made before anything is changed: widths that cannot hold the frame leave the model whole.
    width = K if bottleneck else d
    made = _make(head, width, K, bias=start, seed=seed, **settings)
    before, where = Footprint.of(model), "none"
    if bottleneck:
        where = narrow_last_block(model, found.name, K, seed) or "projection"
        if where != "projection" and head in ("simplex", "orthogonal"):
            made = _make(head, width, K, bias=start, seed=None, **settings)
    made = made.to(device=old.weight.device, dtype=old.weight.dtype).train(old.training)
    new = made
    if where == "projection":
        new = nn.Sequential(OrderedDict(project=_projection(old, K, seed), head=made))
    parent, _, last = found.name.rpartition(".")
    setattr(model.get_submodule(parent), last, new.train(old.training))
    return Surgery(found.name, made, where, checked, before, Footprint.of(model))


def _find(model: nn.Module, name: str | None, inputs: Any) -> tuple[Candidate, str]:
    found = candidates(model, name, linear=True)
    if not found:
        raise ValueError(
            f"{type(model).__name__} holds no linear layer, so there is no head to fix; add one, "
            "or build a head with ncollapse.control.SimplexHead"
        )
    if inputs is None:
        return found[0], f"{found[0].origin}, not checked on a batch"
    with preserved(model), Taps(model, head=name) as taps, torch.no_grad():
        if isinstance(inputs, Mapping):
            first = next(value for value in inputs.values() if isinstance(value, Tensor))
            taps.begin(samples=first.shape[0], mask=inputs.get("attention_mask"))
            taps.end(model(**inputs))
        else:
            taps.begin(samples=inputs.shape[0])
            taps.end(model(inputs))
    assert taps.head is not None
    for candidate in found:
        if candidate.name == taps.head.name:
            return candidate, taps.head.check
    raise ValueError(
        f"the logits are made by {taps.head.name!r}, which is no single nn.Linear "
        f"({taps.head.origin}), and only that can be replaced; make it one, or name the layer"
    )


def _make(head: str | HeadMaker | Geometry, width: int, K: int, **settings: Any) -> nn.Module:
    if isinstance(head, Geometry):
        if head.num_classes != K:
            raise ValueError(
                f"the geometry has {head.num_classes} classes and the model's head {K}; one row a "
                "class is needed"
            )
        settings["bias"] = settings["bias"] is not False
        return GeometryHead(head, width, **settings)
    if not isinstance(head, str):
        return head(width, K)
    if head not in HEADS:
        raise ValueError(f"head={head!r} is unknown; one of {', '.join(HEADS)} is needed")
    return HEADS[head](width, K, **settings)


def _projection(old: nn.Linear, width: int, seed: int) -> nn.Linear:
    """d → width without bias, drawn with variance 1/d by an own generator."""
    made: nn.Linear = nn.utils.skip_init(
        nn.Linear,
        old.in_features,
        width,
        bias=False,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        drawn = torch.randn(width, old.in_features, generator=generator)
        made.weight.copy_(drawn * old.in_features**-0.5)
    return made
