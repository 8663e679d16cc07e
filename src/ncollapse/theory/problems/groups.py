"""Groups of classes that a problem cannot tell apart."""

from __future__ import annotations

from dataclasses import dataclass

from ncollapse.theory.problems.problem import Problem


@dataclass(frozen=True)
class Group:
    """Classes that the problem cannot tell apart: equal count and equal loss parameters.

    classes: 0-based indices, ascending. scale: δ of vector scaling, 1 without.
    """

    classes: tuple[int, ...]
    count: int
    weight: float = 1.0
    scale: float = 1.0
    shift: float = 0.0

    @property
    def size(self) -> int:
        return len(self.classes)


def groups_of(problem: Problem) -> tuple[Group, ...]:
    """Groups of a problem, largest count first, then by first class."""
    loss, ones = problem.logit_loss, (1.0,) * problem.num_classes
    columns = [loss.weight or ones, loss.scale or ones, loss.shift or (0.0,) * len(ones)]
    found: dict[tuple[float, ...], list[int]] = {}
    for k, key in enumerate(zip(problem.counts, *columns, strict=True)):
        found.setdefault(key, []).append(k)
    made = [Group(tuple(index), int(key[0]), *key[1:]) for key, index in found.items()]
    return tuple(sorted(made, key=lambda group: (-group.count, group.classes[0])))
