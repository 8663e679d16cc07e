"""Figures of attacks: leaps in the plane of three vertices, the way there, and centres by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ncollapse.report.plots.ink import (
    CLASSES,
    FAINT,
    INK,
    LINE,
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

WIDTH, HEIGHT = 366.0, 306.0
APART = 13.0
# Farther than this from every vertex a feature is between vertices, as `leap_between` counts.
BETWEEN = 0.7


def leap_plot(plane: Mapping[str, Any] | None, names: Mapping[int, str], alt: str) -> str | None:
    """Arrows of flipped samples from clean to attacked, over the triangle of three clean class
    means, coloured by true class. None without a plane."""
    if not plane or not plane.get("arrows"):
        return None
    corners = np.array(plane["vertices"], dtype=np.float64)
    arrows = np.array(plane["arrows"], dtype=np.float64)
    with style("leap"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, 8, 24, WIDTH - 16, HEIGHT - 32)
        axes.set_aspect("equal")
        axes.axis("off")
        whole = np.vstack([corners, corners[:1]])
        axes.plot(whole[:, 0], whole[:, 1], color=LINE, linewidth=1.2, zorder=1)
        for x, y, to_x, to_y, number in arrows:
            colour = CLASSES[int(number)]
            axes.annotate(
                "",
                (to_x, to_y),
                (x, y),
                arrowprops={
                    "arrowstyle": "-|>,head_length=.4,head_width=.18",
                    "color": colour,
                    "alpha": 0.55,
                    "linewidth": 0.9,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
                zorder=2,
            )
            axes.plot([x], [y], "o", color=colour, markersize=3, alpha=0.7, zorder=3)
        for number, (index, (x, y)) in enumerate(zip(plane["classes"], corners, strict=True)):
            axes.plot(
                [x], [y], "o", color=CLASSES[number], markersize=15, markerfacecolor="none",
                markeredgewidth=1.8, zorder=4,
            )  # fmt: skip
            out = np.array([x, y]) - corners.mean(0)
            out = out / (np.linalg.norm(out) or 1.0) * 24
            axes.annotate(
                plain(names.get(int(index), str(index)), 14),
                (x, y),
                xytext=(out[0], out[1]),
                textcoords="offset points",
                ha="center",
                va="center",
                color=CLASSES[number],
                fontsize=12,
                fontweight="bold",
                zorder=5,
            )
        ends = np.vstack([corners, arrows[:, :2], arrows[:, 2:4]])
        low, high = ends.min(0), ends.max(0)
        room = 0.13 * max(high - low)
        axes.set_xlim(low[0] - room, high[0] + room)
        axes.set_ylim(low[1] - room, high[1] + room)
        drawn = f"{len(arrows)} of {plane['leaps']} leaps among these three classes"
        figure.text(
            0.5, 8 / HEIGHT, f"{drawn}; {plane['flipped']} flipped in all", color=FAINT,
            fontsize=SMALL, ha="center",
        )  # fmt: skip
        return to_svg(figure, "leap", alt)


def way_plot(way: Mapping[str, Any] | None, alt: str) -> str | None:
    """Mean cosines to own, predicted and nearest vertex along the straight way from a clean input
    to its attacked twin. None where none was walked."""
    if not way or len(way.get("t", ())) < 2:
        return None
    with style("way"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, 36, 40, WIDTH - 36 - 84, HEIGHT - 40 - 14)
        lines = (("own", TRAIN, "-"), ("predicted", TEST, "-"), ("nearest", INK, (0, (4, 2))))
        ends = []
        for key, colour, dashes in lines:
            values = [float("nan") if v is None else float(v) for v in way[key]]
            axes.plot(way["t"], values, color=colour, linestyle=dashes, linewidth=1.6)
            ends.append((values[-1], key, colour))
        axes.axhline(BETWEEN, color=FAINT, linewidth=1, linestyle=(0, (0.8, 1.6)))
        axes.set_xlim(0, 1)
        low = min(0.0, *(v for key, *_ in lines for v in way[key] if v is not None)) - 0.05
        axes.set_ylim(low, 1.05)
        _names(axes, ends, low, 1.05)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=3)
        axes.set_xlabel(f"t in x + t (x' - x); {way['walked']} flipped samples", labelpad=3)
        return to_svg(figure, "way", alt)


def centres_plot(
    rows: Sequence[tuple[str, float | None, float | None, float | None]], alt: str
) -> str | None:
    """Accuracy of nearest clean centres by layer: clean, attacked, noise. None for one layer."""
    if len(rows) < 2:
        return None
    with style("centres"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, 36, 66, WIDTH - 36 - 76, HEIGHT - 66 - 14)
        ends = []
        for column, (name, colour, dashes) in enumerate(
            (("clean", TRAIN, "-"), ("attacked", TEST, "-"), ("noise", INK, (0, (4, 2))))
        ):
            cells = [row[1:][column] for row in rows]
            x = [i for i, cell in enumerate(cells) if cell is not None]
            y = [cell for cell in cells if cell is not None]
            if y:
                axes.plot(x, y, color=colour, linestyle=dashes, marker="o", markersize=3.5)
                ends.append((y[-1], name, colour))
        axes.set_xlim(-0.2, len(rows) - 0.8)
        axes.set_ylim(0, 1.03)
        step = -(-len(rows) // 10)
        ticks = list(range(len(rows) - 1, -1, -step))[::-1]
        labels = [rows[i][0] if len(rows[i][0]) <= 11 else "…" + rows[i][0][-10:] for i in ticks]
        axes.set_xticks(ticks, labels, rotation=35, ha="right", rotation_mode="anchor")
        _names(axes, ends, 0, 1.03)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=3, pad=3)
        return to_svg(figure, "centres", alt)


def _names(axes: Any, ends: Sequence[tuple[float, str, str]], low: float, high: float) -> None:
    """Names of lines at their right ends, from the lowest up, moved apart where they meet."""
    height = HEIGHT * axes.get_position().height
    free = -APART
    for value, name, colour in sorted(end for end in ends if end[0] == end[0]):
        free = max((value - low) / (high - low) * height, free + APART)
        beside(axes, free / height, name, FAINT if colour == INK else colour)
