"""The loss over its certified floor along training, and what the share between is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from ncollapse.report.certified import FLOOR, IDLE, LOSS, PARTS, SHAPE, SPREAD, Certified
from ncollapse.report.plots.curves import apart, time_axis
from ncollapse.report.plots.ink import (
    CLASSES,
    LINE,
    MARK,
    TRAIN,
    beside,
    canvas,
    place,
    plain,
    style,
    to_svg,
)

WIDTH, HIGH, SPACE = 1150.0, 190.0, 62.0
BANDS = {
    SPREAD: ("spread within classes", CLASSES[0]),
    SHAPE: ("shape of class means", CLASSES[1]),
    IDLE: ("idle norm", CLASSES[2]),
}
# The axis of losses ends at this share of the smallest.
DEEP = 1e-4


def certified_curves(found: Sequence[Certified]) -> str | None:
    """Two panels a split: loss and floor on a logarithmic axis, and the three parts of the gap,
    shares of the loss, on top of each other. None below two looks."""
    found = [one for one in found if len(one.looks[0]) > 1]
    if not found:
        return None
    high = len(found) * (HIGH + SPACE) + 6
    with style("certified"):
        figure = canvas(WIDTH, high)
        for number, one in enumerate(found):
            unit, at = time_axis(one.rows)
            x, values = one.looks
            bottom = high - (number + 1) * (HIGH + SPACE) + 40
            left = place(figure, 62, bottom, 370, HIGH)
            right = place(figure, 622, bottom, 370, HIGH)
            for axes in (left, right):
                axes.grid(axis="y")
                axes.set_axisbelow(True)
                axes.spines["bottom"].set_color(LINE)
                axes.set_xlim(at[x[0]], at[x[-1]])
                axes.set_xlabel(unit, labelpad=3)
            along = [at[step] for step in x]
            _losses(left, along, values[LOSS], values[FLOOR])
            left.set_title(f"loss on {plain(one.split, 16)}", fontsize=10, loc="left", pad=6)
            _parts(right, along, values)
            title = "share of the loss above the floor, %"
            right.set_title(title, fontsize=10, loc="left", pad=6)
        return to_svg(figure, "certified", " ".join(one.sentence for one in found))


def _losses(axes: Axes, x: list[float], loss: list[float], floor: list[float]) -> None:
    ground = DEEP * min([value for value in loss if value > 0] or [1.0])
    low = max(ground, min(floor))
    # A floor that is deeper leaves the panel at its edge.
    upper = [max(value, ground / 10) for value in loss]
    lower = [max(value, ground / 10) for value in floor]
    axes.set_yscale("log")
    axes.plot(x, upper, color=TRAIN, marker="o", markersize=2.5, linewidth=1.4)
    axes.plot(x, lower, color=MARK, linewidth=1.4)
    axes.fill_between(x, lower, upper, color=MARK, alpha=0.09, linewidth=0)
    axes.set_ylim(low / 1.3, 1.3 * max(upper))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    bottom, top = (math.log(end) for end in axes.get_ylim())
    ends = [HIGH * (math.log(y[-1]) - bottom) / (top - bottom) for y in (upper, lower)]
    ends = [max(end, 4.0) for end in ends]
    for end, name, colour in zip(
        apart(ends, 13.0, HIGH), ("loss", "certified floor"), (TRAIN, MARK), strict=True
    ):
        beside(axes, end / HIGH, name, colour)


def _parts(axes: Axes, x: list[float], values: dict[str, list[float]]) -> None:
    below, middles = [0.0] * len(x), []
    for key in PARTS:
        top = [a + 100 * b for a, b in zip(below, values[key], strict=True)]
        axes.fill_between(x, below, top, color=BANDS[key][1], alpha=0.7, linewidth=0)
        middles.append(HIGH * (below[-1] + top[-1]) / 200)
        below = top
    axes.set_ylim(0, 100)
    for end, (name, colour) in zip(apart(middles, 13.0, HIGH), BANDS.values(), strict=True):
        beside(axes, end / HIGH, name, colour)
