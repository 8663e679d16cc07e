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
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


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

    def decades(self, value: float | None) -> float | None:
        """How many powers of ten below the null; infinite at 0, None without a null."""
        if value is None or self.null is None or self.null <= TRIVIAL:
            return None
        return math.inf if value <= 0 else math.log10(self.null / value)


def collapse_strip(document: Document, alt: str, *, layer: str | None = None) -> str:
    """One row a metric on a common log axis: noise right, the ideal left, two splits at most.

    layer: by default the one that verdicts are about.
    """
    splits = list(document.results)[:2]
    rows = shown("strip", document.task, crowded=crowded_of(document))
    read = [document.results[split].get(layer or document.layer, {}) for split in splits]
    table = [[Bar.of(row, readings.get(row.key)) for readings in read] for row, _ in rows]
    limit, right = _limits([bar for bars in table for bar in bars if bar is not None])
    with style("strip"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, LEFT, 42, WIDTH - LEFT - RIGHT, HEIGHT - 42 - 22)
        axes.set_xlim(limit, right)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        _frame(axes, limit, len(rows))
        for y, (bars, (row, at)) in enumerate(zip(table, rows, strict=True)):
            colour = INK if any(bars) else FAINT
            _beside(axes, 0, y, row.family, x_pixels=-LEFT + 2, color=FAINT, weight="bold")
            beyond = 30 if len(row.family) <= 3 else 38
            _beside(axes, 0, y, at.title, x_pixels=-LEFT + beyond, color=colour)
            _noise(axes, y, bars, limit, right)
            for which, bar in enumerate(bars):
                offset = 0.0 if len(splits) == 1 else (-0.17, 0.17)[which]
                _draw(axes, y + offset, bar, which, limit)
                said = "–" if bar is None else _value(bar.value, row.unit)
                x = WIDTH - LEFT - RIGHT + (58, 116)[which]
                _beside(axes, 0, y, said, x_pixels=x, color=INK if bar else FAINT, ha="right")
        for which, split in enumerate(splits):
            x = WIDTH - LEFT - RIGHT + (58, 116)[which]
            colour = (TRAIN, TEST)[which]
            said = f"{'●○'[which]} {plain(split, 8)}"
            _beside(axes, 0, -0.72, said, x_pixels=x, color=colour, ha="right", weight="bold")
        return to_svg(figure, "strip", alt)


def _limits(bars: list[Bar]) -> tuple[float, float]:
    """The axis in decades: left end (at least 3), right end (beyond noise)."""
    found = [d for bar in bars for v in (bar.value, bar.high) if (d := bar.decades(v)) is not None]
    reached = [d for d in found if math.isfinite(d)]
    limit = max([2.6, *reached]) + 0.4
    floors = [d for bar in bars if (d := bar.decades(bar.floor)) is not None and math.isfinite(d)]
    near = [d for d in floors if limit < d < 1.3 * limit]
    limit = max([limit, *(d + 0.4 for d in near)])
    return limit, max(-1.5, min([-0.3, *(d - 0.15 for d in reached)]))


def _frame(axes: Axes, limit: float, rows: int) -> None:
    step = max(1, math.ceil(limit / 6))
    ticks = list(range(0, int(limit) + 1, step))
    axes.set_xticks(ticks, [_times(tick) for tick in ticks])
    axes.set_yticks([])
    axes.tick_params(length=3)
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


def _times(decades: int) -> str:
    if decades == 0:
        return "noise"
    return f"{10**decades}×" if decades < 4 else f"10{str(decades).translate(SUPERSCRIPTS)}×"


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


def _noise(axes: Axes, y: int, row: list[Bar | None], limit: float, right: float) -> None:
    """The null's tick with its central 95 %, and the floor below which nothing can be read."""
    read = [bar for bar in row if bar is not None]
    bars = [bar for bar in read if bar.null is not None and bar.null > TRIVIAL]
    if not bars:
        trivial = any(bar.null is not None for bar in read)
        said = "not measured" if not read else "no comparator"
        said = "ideal by construction" if trivial else said
        axes.text((limit + right) / 2, y, said, color=FAINT, ha="center", va="center")
        return
    noise = bars[0].noise
    if noise is not None:
        # A band that reaches 0 has no left end on a log axis: only its right half is drawn.
        ends = [bars[0].decades(end) if end > 0 else 0.0 for end in noise]
        low, high = (min(d, limit) if d is not None else 0.0 for d in ends)
        axes.barh(y, low - high, left=high, height=0.62, color=LINE, alpha=0.75, linewidth=0)
    axes.plot([0, 0], [y - 0.31, y + 0.31], color=FAINT, linewidth=1.4, solid_capstyle="butt")
    floor = bars[0].decades(bars[0].floor)
    if floor is not None and floor < limit:
        axes.barh(
            y,
            limit - floor,
            left=floor,
            height=0.62,
            facecolor="none",
            edgecolor=LINE,
            hatch="////",
            linewidth=0.6,
        )


def _draw(axes: Axes, y: float, bar: Bar | None, which: int, limit: float) -> None:
    """Marker with its interval; what lies past the left end gets an arrow."""
    if bar is None or (d := bar.decades(bar.value)) is None:
        return
    colour = (TRAIN, TEST)[which]
    ends = [min(limit, e) for v in (bar.high, bar.low) if (e := bar.decades(v)) is not None]
    if ends:
        axes.plot(ends, [y] * len(ends), color=colour, linewidth=1.8, solid_capstyle="round")
    past = d > limit
    axes.plot(
        [limit if past else d],
        [y],
        marker="<" if past else "o",
        markersize=7,
        color=colour,
        markerfacecolor=PANEL if which else colour,
        markeredgewidth=1.6,
        linestyle="none",
        clip_on=False,
        zorder=5,
    )
