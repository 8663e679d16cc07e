"""Readings over layers and over training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from ncollapse.metrics.catalog import shown
from ncollapse.record.readings import HEAD
from ncollapse.report.plots.curves import time_axis

if TYPE_CHECKING:
    from ncollapse.report.axes import Parts

STYLES = ("-", "--", ":")


def layers(parts: Parts, ax: Axes) -> None:
    """The curves of the task by layer, first to last: solid for the first metric, of every split;
    the others of the first split."""
    assert parts.document is not None
    document = parts.document
    last = document.layer
    names = list(dict.fromkeys(name for found in document.results.values() for name in found))
    names = [name for name in names if name != last] + [name for name in names if name == last]
    for number, (row, at) in enumerate(shown("curve", document.task)):
        for which, split in enumerate(list(document.results)[: 2 if number == 0 else 1]):
            readings = [document.results[split].get(name, {}).get(row.key) for name in names]
            values = [math.nan if r is None or r.value is None else r.value for r in readings]
            if any(not math.isnan(value) for value in values):
                label = f"{at.title}, {split}"
                ax.plot(values, STYLES[number % 3], marker="o", color=f"C{which}", label=label)
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right")
    _finish(ax, "")


def training(parts: Parts, ax: Axes) -> None:
    """The same curves by epoch, or by step where epochs are not known."""
    assert parts.trace is not None
    trace = parts.trace
    last = HEAD if any(row.layer == HEAD for row in trace.rows) else trace.rows[-1].layer
    layer = last if parts.document is None else parts.document.layer
    unit, at = time_axis(trace.rows)
    splits = list(dict.fromkeys(row.split for row in trace.rows))[:2]
    rows = [(row.key, place.title) for row, place in shown("curve")]
    known = {row.key for row in trace.rows if row.layer == layer}
    rows = [row for row in rows if row[0] in known] or [(key, key) for key in sorted(known)[:3]]
    for number, (key, title) in enumerate(rows):
        for which, split in enumerate(splits[: 2 if number == 0 else 1]):
            steps, values = trace.series(split, layer, key)
            if steps:
                x = [at[step] for step in steps]
                y = [math.nan if value is None else value for value in values]
                ax.plot(x, y, STYLES[number % 3], color=f"C{which}", label=f"{title}, {split}")
    _finish(ax, unit)


def _finish(ax: Axes, label: str) -> None:
    ax.set_xlabel(label)
    ax.grid(axis="y", alpha=0.4)
    if ax.get_legend_handles_labels()[0]:
        ax.legend()
