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
# Of a group, what a rule is made of.
OPTIONS = ("weight_decay", "momentum", "dampening", "nesterov")


@dataclass(frozen=True)
class NoLaw:
    """Why no law is known: the name of the reason, and a sentence."""

    name: str
    why: str


class Place:
    """Where an optimizer has a parameter, and its rule there: looked for once, and then checked."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self._at: tuple[int, int] | None = None
        self._rule: tuple[tuple[Any, ...], Rule | NoLaw] | None = None

    def of(self, weight: Tensor) -> dict[str, Any] | None:
        """The group that steps this parameter; None where none does."""
        groups = self.optimizer.param_groups
        if self._at is not None:
            group, row = self._at
            held = groups[group]["params"] if group < len(groups) else ()
            if row < len(held) and held[row] is weight:
                return groups[group]
        for number, group_ in enumerate(groups):
            for row, one in enumerate(group_["params"]):
                if one is weight:
                    self._at = number, row
                    return group_
        return None

    def rule(self, group: Mapping[str, Any]) -> Rule | NoLaw:
        """`rule_of` the group, made anew where its options changed."""
        options = tuple(group.get(name) for name in OPTIONS)
        if self._rule is None or self._rule[0] != options:
            self._rule = options, rule_of(self.optimizer, group)
        return self._rule[1]


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
