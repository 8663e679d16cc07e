"""The catalog: one row a metric, one file a family. Reading it imports no torch.

Rows name their function by path. What a row is compared with, how many classes it can be read of
and where it is shown stand in the row; nothing elsewhere lists keys.
"""

from __future__ import annotations

from collections.abc import Collection
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


def shown(place: str, task: str = USUAL, *, crowded: bool = False) -> list[tuple[Metric, Place]]:
    """The rows of a task that have a place, in its order: `terminal`, `strip`, `curve`,
    `layers`. crowded: whether there are more classes than a simplex can hold, which other rows
    headline."""
    rows = of_task(task).values()
    found = [(row, getattr(row, place)) for row in rows if row.crowded in (None, crowded)]
    return sorted(((row, at) for row, at in found if at is not None), key=lambda item: item[1].rank)


def followed(task: str | None = USUAL) -> tuple[str, ...]:
    """Keys that are read along training unless others are asked for; None: of every task."""
    rows = METRICS if task is None else of_task(task)
    return tuple(key for key, row in rows.items() if row.followed)


def crowded_in(readings: Collection[str]) -> bool:
    """Whether rows of more classes than a simplex can hold are among the readings."""
    return any(METRICS[key].crowded for key in readings if key in METRICS)
