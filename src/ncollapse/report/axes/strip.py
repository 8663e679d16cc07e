"""The collapse strip: every reading between noise and the ideal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from ncollapse.metrics.catalog import shown
from ncollapse.report.plots.strip import TICKS, Bar
from ncollapse.report.terminal import crowded_of

if TYPE_CHECKING:
    from ncollapse.report.axes import Parts


def strip(parts: Parts, ax: Axes) -> None:
    """One row a metric, noise on the right and the ideal on the left, two splits at most, with
    95 % intervals; half the axis is the first factor of ten below noise."""
    assert parts.document is not None
    document = parts.document
    splits = list(document.results)[:2]
    rows = shown("strip", document.task, crowded=crowded_of(document))
    lowest = -0.12
    for which, split in enumerate(splits):
        readings = document.results[split].get(document.layer, {})
        colour, first = f"C{which}", True
        for y, (row, _) in enumerate(rows):
            bar = Bar.of(row, readings.get(row.key))
            place = None if bar is None else bar.place(bar.value)
            if bar is None or place is None:
                continue
            at = y + (which - (len(splits) - 1) / 2) * 0.3
            ends = [e for v in (bar.low, bar.high) if (e := bar.place(v)) is not None]
            ax.plot(ends, [at] * len(ends), color=colour)
            ax.plot([place], [at], "o", color=colour, label=split if first else None)
            lowest, first = min(lowest, place - 0.06, *ends), False
    ax.axvline(0, color="0.4", linewidth=1)
    ax.set_xlim(1.03, lowest)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xticks(list(TICKS.values()), list(TICKS))
    ax.set_yticks(range(len(rows)), [f"{row.family} {at.title}" for row, at in rows])
    ax.set_xlabel("towards the ideal · times smaller than noise")
    ax.grid(axis="x", alpha=0.4)
    if ax.get_legend_handles_labels()[0]:
        ax.legend()
