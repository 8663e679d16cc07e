"""Which form a loss has on groups of equal classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ncollapse.losses import (
    CrossEntropy,
    DotRegression,
    Focal,
    LogitLoss,
    Loss,
    MeanSquaredError,
    RescaledSquaredError,
)
from ncollapse.theory.solvers.blocks import Groups
from ncollapse.theory.solvers.forms.cross_entropy import GroupedCrossEntropy
from ncollapse.theory.solvers.forms.focal import GroupedFocal
from ncollapse.theory.solvers.forms.form import GroupedLoss
from ncollapse.theory.solvers.forms.squares import GroupedOwnLogit, GroupedSquares

FORMS: dict[type, Callable[[Any, Groups], GroupedLoss]] = {
    CrossEntropy: lambda loss, groups: GroupedCrossEntropy(loss.smoothing, groups),
    MeanSquaredError: lambda loss, groups: GroupedSquares(groups),
    RescaledSquaredError: lambda loss, groups: GroupedSquares(groups, loss.factor, loss.target),
    Focal: lambda loss, groups: GroupedFocal(loss.gamma, groups),
    DotRegression: lambda loss, groups: GroupedOwnLogit(loss.target, groups),
}


def grouped(loss: Loss, groups: Groups) -> GroupedLoss:
    """The form of a loss, or of the class it derives from; ValueError for an unknown one."""
    for kind in type(loss).__mro__:
        if kind in FORMS:
            return FORMS[kind](loss, groups)
    raise ValueError(f"loss {loss!r} has no grouped form; a loss of ncollapse.losses is needed")


def sole(loss: LogitLoss, num_classes: int) -> GroupedLoss:
    """The form in which every class is a group of its own, one sample each."""
    groups = Groups.of((1,) * num_classes, None, loss.scale, loss.shift, merge=False)
    return grouped(loss, groups)
