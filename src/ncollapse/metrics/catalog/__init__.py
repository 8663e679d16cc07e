"""The catalog: one row a metric, one file a family. Reading it imports no torch.

Rows name their function by path. What a row is compared with, how many classes it can be read of
and where it is shown stand in the row; nothing elsewhere lists keys.
"""

from __future__ import annotations

from ncollapse.metrics.catalog import nc1, nc2, nc3, nc4
from ncollapse.metrics.metric import Metric, Place

METRICS: dict[str, Metric] = {
    row.key: row for family in (nc1, nc2, nc3, nc4) for row in family.ROWS
}
DEFINITIONS: tuple[str, ...] = tuple(
    sorted({name for row in METRICS.values() for name in row.definitions} | {"macro", "micro"})
)


def shown(place: str) -> list[tuple[Metric, Place]]:
    """The rows that have a place, in its order: `terminal`, `strip`, `curve` or `layers`."""
    found = [(row, getattr(row, place)) for row in METRICS.values()]
    return sorted(((row, at) for row, at in found if at is not None), key=lambda item: item[1].rank)


def followed() -> tuple[str, ...]:
    """Keys that are read along training unless others are asked for."""
    return tuple(key for key, row in METRICS.items() if row.followed)
