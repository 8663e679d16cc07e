"""The catalog: one row a metric, one file a family. Reading it imports no torch.

Rows name their function by path. What a row is compared with, how many classes it can be read of
and where it is shown stand in the row; nothing elsewhere lists keys.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from ncollapse.metrics.metric import Metric, Place

FAMILIES = sorted(found.name for found in iter_modules(__path__))
METRICS: dict[str, Metric] = {
    row.key: row for name in FAMILIES for row in import_module(f"{__name__}.{name}").ROWS
}
DEFINITIONS: tuple[str, ...] = tuple(
    sorted({name for row in METRICS.values() for name in row.definitions} | {"macro", "micro"})
)


USUAL = "classification"


def of_task(task: str = USUAL) -> dict[str, Metric]:
    """The rows of a task by key."""
    return {key: row for key, row in METRICS.items() if row.task == task}


def shown(place: str, task: str = USUAL) -> list[tuple[Metric, Place]]:
    """The rows of a task that have a place, in its order: `terminal`, `strip`, `curve`,
    `layers`."""
    found = [(row, getattr(row, place)) for row in of_task(task).values()]
    return sorted(((row, at) for row, at in found if at is not None), key=lambda item: item[1].rank)


def followed(task: str | None = USUAL) -> tuple[str, ...]:
    """Keys that are read along training unless others are asked for; None: of every task."""
    rows = METRICS if task is None else of_task(task)
    return tuple(key for key, row in rows.items() if row.followed)
