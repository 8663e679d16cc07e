"""Which law the sum of the classifier's rows has to follow under an optimizer, or why none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.theory.subjects.head_sum import Rule

# Steps adapted entry by entry: 1ᵀ(G/√v) is not zero where 1ᵀG is.
ENTRYWISE = (
    "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta", "RMSprop", "Rprop",
    "Adafactor", "SparseAdam", "Lion",
)  # fmt: skip


@dataclass(frozen=True)
class NoLaw:
    """Why no law is known: the name of the reason, and a sentence."""

    name: str
    why: str


def place_of(optimizer: torch.optim.Optimizer, weight: Tensor) -> dict[str, Any] | None:
    """The group that steps this parameter; None where none does."""
    for group in optimizer.param_groups:
        if any(one is weight for one in group["params"]):
            return group
    return None


def rule_of(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> Rule | NoLaw:
    """The rule of a group as it stands now, by the optimizer's class and options."""
    name = type(optimizer).__name__
    if type(optimizer) is torch.optim.SGD:
        return _rule(group, decoupled=False)
    if name == "Muon":
        return _rule(group, decoupled=True)
    if name in ENTRYWISE:
        return NoLaw(
            "optimizer",
            f"{name} scales every entry of a step by itself, which has no closed law: decay alone "
            "would shrink the sum, and the data move it",
        )
    if isinstance(optimizer, torch.optim.SGD):
        return NoLaw(
            "optimizer",
            f"{name} is a kind of SGD whose step is its own; pass rule=… "
            "(ncollapse.theory.subjects.head_sum.Rule) to say which law it has",
        )
    return NoLaw(
        "optimizer",
        f"no law of the optimizer {name} is known here; pass rule=… "
        "(ncollapse.theory.subjects.head_sum.Rule) where it has one",
    )


def _rule(group: Mapping[str, Any], *, decoupled: bool) -> Rule:
    return Rule(
        weight_decay=float(group.get("weight_decay", 0)),
        momentum=float(group.get("momentum", 0)),
        dampening=float(group.get("dampening", 0)),
        nesterov=bool(group.get("nesterov", False)),
        decoupled=decoupled,
    )


def users_of(model: nn.Module, weight: Tensor) -> list[str]:
    """The names under which a parameter stands in a model: two or more for a tied one."""
    return [name for name, one in model.named_parameters(remove_duplicate=False) if one is weight]
