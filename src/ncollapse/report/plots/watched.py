"""What watchers read along training beside the catalog: one small panel a reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ncollapse.metrics.catalog import METRICS
from ncollapse.record.readings import HEAD
from ncollapse.record.trace import CERTIFIED, CLASS_RANK, DIAL, Trace
from ncollapse.report.plots.curves import time_axis
from ncollapse.report.plots.ink import (
    LINE,
    TEST,
    TRAIN,
    beside,
    canvas,
    place,
    plain,
    style,
    to_svg,
)

WIDTH, HIGH, COLUMNS = 1150.0, 150.0, 3
# Readings along training that are of the loop itself, or have a section of their own.
ELSEWHERE = ("train_error", *CERTIFIED)
MOST = 12


@dataclass(frozen=True)
class Watched:
    """Series of one reading: places along the axis and values, by split."""

    key: str
    series: dict[str, tuple[list[float], list[float]]]


def watched(trace: Trace | None, layer: str = HEAD) -> tuple[str, list[Watched]]:
    """The unit of time, and what a trace holds of a layer that is no row of the catalog; nothing
    where no reading was taken twice."""
    rows = [] if trace is None else [r for r in trace.rows if r.layer == layer and r.split != DIAL]
    own = [row for row in rows if row.key not in METRICS and row.key not in ELSEWHERE]
    own = [row for row in own if not row.key.startswith(CLASS_RANK)]
    if not own:
        return "", []
    unit, at = time_axis(own)
    found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for row in own:
        if row.value is None:
            continue
        x, y = found.setdefault(row.key, {}).setdefault(row.split, ([], []))
        x.append(at[row.step])
        y.append(row.value)
    kept = {
        key: {split: line for split, line in lines.items() if len(line[0]) > 1}
        for key, lines in found.items()
    }
    return unit, [Watched(key, lines) for key, lines in kept.items() if lines][:MOST]


def watched_curves(unit: str, found: Sequence[Watched], name: str = "watched") -> str | None:
    """A panel a reading, a line a split. None where there is nothing to draw."""
    if not found:
        return None
    rows = -(-len(found) // COLUMNS)
    high = rows * (HIGH + 46) + 8
    wide = WIDTH / COLUMNS - 130
    with style(name):
        figure = canvas(WIDTH, high)
        for number, one in enumerate(found):
            row, column = divmod(number, COLUMNS)
            left, bottom = 54 + column * WIDTH / COLUMNS, high - (row + 1) * (HIGH + 46) + 38
            axes = place(figure, left, bottom, wide, HIGH)
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            axes.spines["bottom"].set_color(LINE)
            axes.set_title(plain(one.key, 30), fontsize=10, loc="left", pad=4)
            for place_of, (split, (x, y)) in enumerate(one.series.items()):
                colour = (TRAIN, TEST)[place_of % 2]
                axes.plot(x, y, color=colour, marker="o", markersize=2.5, linewidth=1.3)
                beside(axes, 0.9 - 0.16 * place_of, plain(split, 10), colour)
            if row == rows - 1:
                axes.set_xlabel(unit, labelpad=3)
        return to_svg(figure, name, f"Along training: {', '.join(one.key for one in found)}")
