"""The latent line: mean scores of ordered grades between their thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ncollapse.report.plots.ink import (
    FAINT,
    INK,
    LINE,
    MARK,
    SMALL,
    TEST,
    TRAIN,
    canvas,
    place,
    plain,
    style,
    to_svg,
)

WIDTH, ROW, MARGIN = 490.0, 92.0, 44.0
# Splits that are drawn, each on a line of its own.
SPLITS = 3
# Names beside each other need so many pixels a character.
LETTER = 6.0


def latent_line(
    lines: Mapping[str, Mapping[str, Any]], alt: str, names: Mapping[int, str] | None = None
) -> str | None:
    """One line a split: dots are mean scores, with the spread of scores within grades as bars;
    rings are where theory puts them, strokes are thresholds. None without a line."""
    drawn = list(lines.items())[:SPLITS]
    if not drawn:
        return None
    with style("line"):
        figure = canvas(WIDTH, ROW * len(drawn) + MARGIN)
        axes = place(figure, 14, MARGIN, WIDTH - 28, ROW * len(drawn))
        ends = [end for _, one in drawn for end in (*one["positions"], *(one["thresholds"] or ()))]
        low, high = min(ends), max(ends)
        room = 0.06 * (high - low) or 1.0
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(-0.6, len(drawn) - 0.4)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        scale = (WIDTH - 28) / (high - low + 2 * room)
        for number, ((split, one), colour) in enumerate(
            zip(drawn, (TRAIN, TEST, MARK), strict=False)
        ):
            level = len(drawn) - 1 - number
            axes.axhline(level, color=LINE, linewidth=1, zorder=1)
            axes.text(low - room, level + 0.4, plain(split), color=colour, fontsize=SMALL)
            for end in one["thresholds"] or ():
                axes.plot([end, end], [level - 0.16, level + 0.16], color=FAINT, linewidth=1.2)
            if one["limits"] is not None:
                axes.plot(
                    one["limits"], [level] * len(one["limits"]), "o", color=INK, markersize=10,
                    markerfacecolor="none", markeredgewidth=0.9, zorder=2,
                )  # fmt: skip
            if one["spread"]:
                axes.errorbar(
                    one["positions"], [level] * len(one["positions"]), xerr=one["spread"],
                    fmt="none", ecolor=colour, alpha=0.5, elinewidth=2.5, zorder=3,
                )  # fmt: skip
            axes.plot(
                one["positions"], [level] * len(one["positions"]), "o", color=colour,
                markersize=5.5, zorder=4,
            )  # fmt: skip
            _label(axes, one, level, scale, names or {})
        axes.set_xlabel("latent score z = wᵀh", labelpad=3)
        axes.tick_params(length=3)
        return to_svg(figure, "line", alt)


def _label(
    axes: Any, one: Mapping[str, Any], level: float, scale: float, names: Mapping[int, str]
) -> None:
    """Names under the dots, left out where they would run into the one before."""
    free = -float("inf")
    for grade, position in sorted(
        zip(one["grades"], one["positions"], strict=True), key=lambda item: item[1]
    ):
        name = plain(names.get(grade, str(grade)), 12)
        half = LETTER * len(name) / 2
        if position * scale - half >= free:
            axes.text(position, level - 0.36, name, color=INK, fontsize=SMALL, ha="center")
            free = position * scale + half + LETTER
