"""What labels mean: one file a task. A file of this folder that holds a TASK is one."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ncollapse.collect.plan import Labelled
    from ncollapse.tasks.task import Task

AUTO = "auto"


@cache
def tasks() -> dict[str, Task]:
    """All tasks by name."""
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    found: list[Task] = [module.TASK for module in modules if hasattr(module, "TASK")]
    return {task.name: task for task in found}


def chosen(name: str, source: Labelled) -> tuple[Task, str]:
    """The task of that name, or with "auto" the first that recognises the labels, and why it was
    taken. Raises ValueError for an unknown name, and for labels of no task."""
    known = tasks()
    if name != AUTO:
        if name not in known:
            raise ValueError(
                f"task {name!r} is unknown; one of {AUTO}, {', '.join(known)} is needed"
            )
        return known[name], "it was asked for"
    for task in known.values():
        why = task.recognised(source)
        if why is not None:
            return task, why
    given = source.labels if source.targets is None else source.targets
    if given.dim() == 2 and given.shape[1] > 1 and bool((given.sum(1) == 1).all()):
        raise ValueError(
            f"{source.description}: labels are one-hot, one 1 in each of {len(given)} rows; pass "
            "class numbers, labels.argmax(1); of a loader unpack=lambda b: (b[0], b[1].argmax(1)), "
            "or of mappings ({k: v for k, v in b.items() if k != 'labels'}, b['labels'].argmax(1))"
        )
    raise ValueError(
        f"{source.description}: labels are {given.dtype} and whole numbers, which may be classes "
        "or targets; convert them with .astype(int) if they are class numbers, or pass "
        "task='regression' if they are targets"
    )
