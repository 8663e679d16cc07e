"""Figures of language models: where variance sits, readings by frequency, what collapse needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from ncollapse.report.plots.ink import (
    CLASSES,
    FAINT,
    INK,
    LINE,
    MARK,
    NORMAL,
    SMALL,
    TEST,
    TRAIN,
    beside,
    canvas,
    place,
    plain,
    style,
    to_svg,
)

Row = Mapping[str, Any]
WIDE, HEIGHT, NARROW, LIST = 490.0, 306.0, 366.0, 256.0
SPLITS = 2
# A part narrower than this has no number in it.
ROOM = 0.085


def shares_bar(shares: Mapping[str, Row], alt: str) -> str | None:
    """Where the variance of features sits, a bar a split: kind of token, token, context, without
    what noise adds; the stroke is the floor that predictions set, from the right. None where no
    split has corrected shares."""
    drawn = [(name, row) for name, row in shares.items() if row.get("corrected")][:SPLITS]
    if not drawn:
        return None
    with style("shares"):
        figure = canvas(WIDE, HEIGHT)
        axes = place(figure, 92, 62, WIDE - 92 - 24, HEIGHT - 62 - 40)
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.7, len(drawn) - 0.3)
        for number, (name, row) in enumerate(drawn):
            level = len(drawn) - 1 - number
            _bar(axes, level, row)
            axes.text(
                -0.015, level, plain(name, 12), color=(TRAIN, TEST)[number], fontsize=NORMAL,
                ha="right", va="center",
            )  # fmt: skip
            for place_y, said in zip((0.33, 0.46), _below(row), strict=False):
                axes.text(
                    1, level - place_y, said, color=FAINT, fontsize=SMALL, ha="right", va="center"
                )
        for where, colour in enumerate(_colours()):
            x = (0.0, 0.34, 0.62)[where]
            axes.text(x, 1.06, "■", color=colour, transform=axes.transAxes, fontsize=NORMAL)
            said = ("of the kind of token", "of the next token", "of context")[where]
            axes.text(x + 0.035, 1.06, said, color=INK, transform=axes.transAxes, fontsize=SMALL)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.tick_params(length=3)
        axes.set_xlabel("share of the features' variance, without what noise adds", labelpad=3)
        return to_svg(figure, "shares", alt)


def _colours() -> tuple[str, str, str]:
    return CLASSES[1], CLASSES[0], LINE


def _bar(axes: Axes, level: int, row: Row) -> None:
    start = 0.0
    for share, colour in zip(row["corrected"], _colours(), strict=True):
        width = min(max(share, 0.0), 1.0 - start)
        axes.barh(level, width, 0.42, left=start, color=colour, linewidth=0, zorder=2)
        if width >= ROOM:
            axes.text(
                start + width / 2, level, f"{100 * share:.1f} %", color=INK, fontsize=SMALL,
                ha="center", va="center", zorder=4,
            )  # fmt: skip
        start += width
    floor = row.get("floor")
    if floor:
        axes.plot([1 - floor] * 2, [level - 0.28, level + 0.28], color=MARK, linewidth=2, zorder=3)


def _below(row: Row) -> tuple[str, ...]:
    said = (f"uncorrected, pure noise would show {100 * row['noise']:.1f} % of the token",)
    if row.get("floor") is not None:
        kept = f"right of the stroke, {100 * row['floor']:.1f} %: predictions need so much"
        return (kept, *said)
    return said


def frequency_plot(curves: Mapping[str, Row], alt: str) -> str | None:
    """By how often a token occurs: the share of variance that its contexts have, the cosine of its
    mean and its row of the head, and how often it is predicted; filled dots for the first split.
    None where nothing has two bins."""
    named = (("context", INK), ("NC3", TRAIN), ("predicted", MARK))
    with style("frequency"):
        figure = canvas(NARROW, HEIGHT)
        axes = place(figure, 40, 40, NARROW - 40 - 76, HEIGHT - 40 - 22)
        ends: dict[str, tuple[float, str]] = {}
        longest, low = 0, 0.0
        for which, rows in enumerate(list(curves.values())[:SPLITS]):
            found = _by_frequency(rows)
            for said, shown in named:
                points = found[said]
                longest = max(longest, len(points))
                if len(points) < 2:
                    continue
                x, y = zip(*points, strict=True)
                low = min(low, *y)
                axes.plot(
                    x, y, "o-" if which == 0 else "o--", color=shown, markersize=4,
                    markerfacecolor=shown if which == 0 else "none", linewidth=1.3,
                )  # fmt: skip
                ends.setdefault(said, (float(y[-1]), shown))
        if longest < 2:
            return None
        axes.set_xscale("log")
        bottom = -1.0 if low < -0.5 else -0.5 if low < -0.2 else -0.2 if low < -0.05 else -0.05
        axes.set_ylim(bottom, 1.05)
        axes.axhline(0, color=LINE, linewidth=1)
        used: list[float] = []
        for said, (value, colour) in sorted(ends.items(), key=lambda item: -item[1][0]):
            height = (value - bottom) / (1.05 - bottom)
            while any(abs(height - other) < 0.055 for other in used):
                height -= 0.06
            used.append(height)
            beside(axes, height, said, colour)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.tick_params(length=3, pad=3)
        axes.set_xlabel("how often the token occurs", labelpad=3)
        return to_svg(figure, "frequency", alt)


def _by_frequency(curve: Row) -> dict[str, list[tuple[float, float]]]:
    """(count, value) of what is drawn; context is spread over spread and squared length, the noise
    of means taken off."""
    counts, readings = curve["count"], curve["readings"]
    nothing = [None] * len(counts)
    context = [
        None if s is None or n is None or s + n**2 <= 0 else s / (s + n**2)
        for s, n in zip(readings["spread"], readings["length"], strict=True)
    ]
    found = {
        "context": context,
        "NC3": readings.get("cosine", nothing),
        "predicted": readings.get("accuracy", nothing),
    }
    return {
        name: [(c, v) for c, v in zip(counts, values, strict=True) if v is not None]
        for name, values in found.items()
    }


def conditions_list(rows: Sequence[Row], alt: str) -> str | None:
    """What collapse asks for, a line each: ticked, crossed, or a question mark where it is not
    known; and what was found. rows: title, found, holds. None without rows."""
    if not rows:
        return None
    with style("conditions"):
        figure = canvas(WIDE, LIST)
        axes = place(figure, 0, 0, WIDE, LIST)
        axes.set_axis_off()
        axes.set_xlim(0, WIDE)
        axes.set_ylim(LIST, 0)
        step = min(44.0, (LIST - 12) / len(rows))
        for number, row in enumerate(rows):
            y = 20 + number * step
            mark, colour = {True: ("✓", CLASSES[0]), False: ("✗", MARK), None: ("?", FAINT)}[
                row["holds"]
            ]
            axes.text(14, y, mark, color=colour, fontsize=15, va="center", ha="center")
            axes.text(34, y - 6.5, row["title"], color=INK, fontsize=NORMAL, va="center")
            axes.text(34, y + 7, plain(row["found"], 84), color=FAINT, fontsize=SMALL, va="center")
        return to_svg(figure, "conditions", alt)
