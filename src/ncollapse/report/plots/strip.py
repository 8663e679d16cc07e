"""The collapse strip: every reading as how many times smaller than noise it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from ncollapse.metrics.catalog import shown
from ncollapse.metrics.metric import Metric
from ncollapse.record.document import Document
from ncollapse.record.readings import Reading
from ncollapse.report.plots.ink import (
    FAINT,
    INK,
    LINE,
    NORMAL,
    PANEL,
    SMALL,
    TEST,
    TRAIN,
    canvas,
    place,
    plain,
    style,
    to_svg,
)
from ncollapse.report.terminal import crowded_of, number

WIDTH, HEIGHT, LEFT, RIGHT = 490.0, 306.0, 170.0, 118.0
# Below this a null is rounding: the reading is ideal by construction (two classes).
TRIVIAL = 1e-9
# A little beyond the ideal, so that a marker there is whole.
LEFTMOST, NARROW = 1.03, -0.2


@dataclass(frozen=True)
class Bar:
    """A reading turned so that 0 is the ideal; all but `value` may be missing."""

    value: float
    low: float | None
    high: float | None
    null: float | None
    noise: tuple[float, float] | None
    floor: float | None

    @classmethod
    def of(cls, row: Metric, reading: Reading | None) -> Bar | None:
        if reading is None or reading.value is None:
            return None
        low, high = reading.interval or (None, None)
        null = None if reading.null is None else reading.null.mean
        noise = None if reading.null is None else (reading.null.low, reading.null.high)
        # An interval is of the population value.
        value = reading.value if reading.estimate is None else reading.estimate
        floor = reading.floor
        if row.ideal == 1:  # what is missing to the ideal
            value = 1 - value
            low, high = (None, None) if low is None or high is None else (1 - high, 1 - low)
            null = None if null is None else 1 - null
            noise = None if noise is None else (1 - noise[1], 1 - noise[0])
            floor = None if floor is None else 1 - floor
        return cls(value, low, high, null, noise, floor)

    def place(self, value: float | None) -> float | None:
        """Where a value stands: 0 at the null, 1 at the ideal (see `scale`); None without a
        null."""
        if value is None or self.null is None or self.null <= TRIVIAL:
            return None
        return 1.0 if value <= 0 else scale(math.log10(self.null / value))


def scale(decades: float) -> float:
    """D/(|D| + 1) of a number of decades D below noise: half the axis for the first of them, where
    NC2 lives, the other half for all that are deeper, and the ideal itself at 1."""
    return decades / (abs(decades) + 1)


TICKS = {
    "ideal": 1.0, "100×": scale(2), "10×": scale(1), "2×": scale(math.log10(2)), "noise": 0.0,
}  # fmt: skip


def collapse_strip(document: Document, alt: str, *, layer: str | None = None) -> str:
    """One row a metric on a common log axis: noise right, the ideal left, two splits at most.

    layer: by default the one that verdicts are about.
    """
    splits = list(document.results)[:2]
    rows = shown("strip", document.task, crowded=crowded_of(document))
    read = [document.results[split].get(layer or document.layer, {}) for split in splits]
    table = [[Bar.of(row, readings.get(row.key)) for readings in read] for row, _ in rows]
    right = _right([bar for bars in table for bar in bars if bar is not None])
    with style("strip"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, LEFT, 42, WIDTH - LEFT - RIGHT, HEIGHT - 42 - 22)
        axes.set_xlim(LEFTMOST, right)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        _frame(axes, len(rows))
        for y, (bars, (row, at)) in enumerate(zip(table, rows, strict=True)):
            colour = INK if any(bars) else FAINT
            _beside(axes, 0, y, row.family, x_pixels=-LEFT + 2, color=FAINT, weight="bold")
            beyond = 31 if row.family[:2] == "NC" else 38
            _beside(axes, 0, y, at.title, x_pixels=-LEFT + beyond, color=colour)
            _noise(axes, y, bars, right)
            for which, bar in enumerate(bars):
                offset = 0.0 if len(splits) == 1 else (-0.17, 0.17)[which]
                _draw(axes, y + offset, bar, which)
                said = "–" if bar is None else _value(bar.value, row.unit)
                x = WIDTH - LEFT - RIGHT + (58, 116)[which]
                _beside(axes, 0, y, said, x_pixels=x, color=INK if bar else FAINT, ha="right")
        for which, split in enumerate(splits):
            x = WIDTH - LEFT - RIGHT + (58, 116)[which]
            colour = (TRAIN, TEST)[which]
            said = f"{'●○'[which]} {plain(split, 8)}"
            _beside(axes, 0, -0.72, said, x_pixels=x, color=colour, ha="right", weight="bold")
        return to_svg(figure, "strip", alt)


def _right(bars: list[Bar]) -> float:
    """The right end of the axis: noise at 0, and what lies beyond it."""
    found = [p for bar in bars for v in (bar.value, bar.low) if (p := bar.place(v)) is not None]
    return max(-0.6, min([-0.12, *(place - 0.06 for place in found)]))


def _frame(axes: Axes, rows: int) -> None:
    # Where much lies beyond noise, the deep end is too narrow for both of its labels.
    right = axes.get_xlim()[1]
    ticks = {said: at for said, at in TICKS.items() if said != "100×" or right > NARROW}
    axes.set_xticks(list(ticks.values()), list(ticks))
    axes.set_xticks([scale(decades) for decades in (3, 4, 6, 8)], minor=True)
    axes.set_yticks([])
    axes.tick_params(length=3)
    axes.tick_params(length=2, which="minor")
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("← towards the ideal · times smaller than noise", labelpad=5)
    for y in range(1, rows):
        axes.axhline(y - 0.5, color=LINE, linewidth=0.5, zorder=0)


def _value(value: float, kind: str) -> str:
    if kind == "percent" and value >= 0.01:
        return f"{100 * value:.1f} %"
    return f"{100 * value:.2g} %" if kind == "percent" and not 0 < value < 1e-4 else number(value)


def _beside(axes: Axes, x: float, y: float, text: str, *, x_pixels: float, **more: Any) -> None:
    """Text at a row, a number of pixels right of the axes' left edge."""
    axes.annotate(
        text,
        (x, y),
        xycoords=("axes fraction", "data"),
        xytext=(x_pixels, 0),
        textcoords="offset points",
        annotation_clip=False,
        fontsize=NORMAL if y >= 0 else SMALL,
        va="center",
        **more,
    )


def _noise(axes: Axes, y: int, row: list[Bar | None], right: float) -> None:
    """The null's tick with its central 95 %, and the floor below which nothing can be read."""
    read = [bar for bar in row if bar is not None]
    bars = [bar for bar in read if bar.null is not None and bar.null > TRIVIAL]
    if not bars:
        trivial = any(bar.null is not None for bar in read)
        said = "not measured" if not read else "no comparator"
        said = "ideal by construction" if trivial else said
        axes.text((1 + right) / 2, y, said, color=FAINT, ha="center", va="center")
        return
    if bars[0].noise is not None:
        low, high = (max(right, bars[0].place(end) or 0.0) for end in bars[0].noise)
        axes.barh(y, low - high, left=high, height=0.62, color=LINE, alpha=0.75, linewidth=0)
    axes.plot([0, 0], [y - 0.31, y + 0.31], color=FAINT, linewidth=1.4, solid_capstyle="butt")
    floor = bars[0].place(bars[0].floor)
    if floor is not None and floor < 1:
        axes.barh(
            y,
            1 - floor,
            left=floor,
            height=0.62,
            facecolor="none",
            edgecolor=LINE,
            hatch="////",
            linewidth=0.6,
        )


def _draw(axes: Axes, y: float, bar: Bar | None, which: int) -> None:
    """Marker with its interval."""
    if bar is None or (place := bar.place(bar.value)) is None:
        return
    colour = (TRAIN, TEST)[which]
    ends = [e for v in (bar.high, bar.low) if (e := bar.place(v)) is not None]
    if ends:
        axes.plot(ends, [y] * len(ends), color=colour, linewidth=1.8, solid_capstyle="round")
    axes.plot(
        [place],
        [y],
        marker="o",
        markersize=7,
        color=colour,
        markerfacecolor=PANEL if which else colour,
        markeredgewidth=1.6,
        linestyle="none",
        clip_on=False,
        zorder=5,
    )
