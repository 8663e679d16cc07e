"""The numbers behind a figure as a link that holds them: no file beside the page, no network."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any
from urllib.parse import quote

from ncollapse.metrics.catalog import shown
from ncollapse.record.document import Document
from ncollapse.record.readings import ClassRow
from ncollapse.record.tables import CLASS_COLUMNS
from ncollapse.record.trace import COLUMNS, Trace
from ncollapse.report.plots.gram import blocks_of, measured_blocks, units

# What a data URL may hold as it is; the attribute that it stands in is escaped by the template.
PLAIN = ",.;:-+_()/@!*'"
READING = ("value", "estimate", "low", "high", "noise", "noise_low", "noise_high", "floor", "ideal")


@dataclass(frozen=True)
class Data:
    """A table to be taken away: the name of its file, and its address, which holds it."""

    name: str
    url: str

    @classmethod
    def of(cls, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Data | None:
        """None where there are no rows."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        found = 0
        for row in rows:
            writer.writerow([_short(cell) for cell in row])
            found += 1
        if not found:
            return None
        return cls(f"{name}.csv", "data:text/csv;charset=utf-8," + quote(text.getvalue(), PLAIN))


def strip_data(document: Document) -> Data | None:
    """The readings of the strip, of every split, with their comparators."""
    keys = [row.key for row, _ in shown("strip", document.task)]
    rows = []
    for split, layers in document.results.items():
        for key in keys:
            reading = layers.get(document.layer, {}).get(key)
            if reading is None:
                continue
            null, ends = reading.null, reading.interval or (None, None)
            noise = (None, None, None) if null is None else (null.mean, null.low, null.high)
            value = (reading.value, reading.estimate, *ends, *noise, reading.floor, reading.ideal)
            rows.append((split, document.layer, key, *value))
    return Data.of("readings", ("split", "layer", "key", *READING), rows)


def gram_data(means: Any, names: Sequence[str], counts: Any) -> Data | None:
    """The cosines of the heat map, each pair once, in its order and its blocks."""
    unit = units(means)
    order, sizes = blocks_of(unit, counts)
    cosines = measured_blocks(unit, order, sizes)
    starts = [int(sizes[:i].sum()) for i in range(len(sizes))]
    said = [_block([int(k) for k in order[a : a + n]], names)
            for a, n in zip(starts, sizes, strict=True)]  # fmt: skip
    rows = [
        (said[i], said[j], float(cosines[i, j])) for i in range(len(said)) for j in range(i + 1)
    ]
    return Data.of("cosines", ("first", "second", "cosine"), rows)


def class_data(rows: Iterable[ClassRow]) -> Data | None:
    """Rows of classes as in classes.csv."""
    return Data.of("classes", CLASS_COLUMNS, (astuple(row) for row in rows))


def layer_data(document: Document) -> Data | None:
    """The lines over layers."""
    keys = [row.key for row, _ in shown("curve", document.task)]
    rows = [
        (split, layer, key, reading.value)
        for split, layers in document.results.items()
        for layer, readings in layers.items()
        for key in keys
        if (reading := readings.get(key)) is not None
    ]
    return Data.of("layers", ("split", "layer", "key", "value"), rows)


def trace_data(trace: Trace, layer: str) -> Data | None:
    """The lines over training."""
    keys = {row.key for row, _ in shown("curve")}
    rows = [tuple(vars(r).values()) for r in trace.rows if r.key in keys and r.layer == layer]
    return Data.of("training", COLUMNS, rows)


def _block(members: list[int], names: Sequence[str]) -> str:
    """A class by its name, or a block by the numbers of its classes."""
    if len(members) == 1 and members[0] < len(names):
        return names[members[0]]
    return " ".join(str(k) for k in sorted(members))


def _short(cell: Any) -> Any:
    return f"{cell:.6g}" if isinstance(cell, float) else cell
