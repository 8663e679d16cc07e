"""The head against the class means, class by class: what fills the page without layers or trace."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from ncollapse.record.readings import ClassRow
from ncollapse.report.plots.ink import (
    FAINT,
    INK,
    LINE,
    SMALL,
    TRAIN,
    canvas,
    place,
    style,
    to_svg,
)
from ncollapse.report.plots.labels import shortened

WIDTH, HEIGHT = 366.0, 306.0
# Up to here every class has a line with its name.
NAMED = 20


def dual_plot(rows: Sequence[ClassRow], alt: str) -> str | None:
    """Cosine of every classifier row with its class mean, least first; None without a head."""
    known = [(row.cosine, row.name) for row in rows if row.cosine is not None]
    if not known:
        return None
    ranked = sorted(known, key=lambda pair: pair[0])
    values = [value for value, _ in ranked]
    with style("duals"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, 84, 40, WIDTH - 84 - 16, HEIGHT - 40 - 10)
        low = min(values)
        left = min(max(low - 0.35 * (1 - low), -1.05), 0.9)
        axes.set_xlim(left, 1 + 0.03 * (1 - left))
        axes.set_ylim(len(ranked) - 0.4, -0.6)
        axes.axvline(1, color=FAINT, linewidth=1.2, zorder=1)
        if len(ranked) <= NAMED:
            _lines(axes, values, left)
            axes.set_yticks(range(len(ranked)), [shortened(name, 12) for _, name in ranked])
        else:
            axes.step(values, range(len(ranked)), color=TRAIN, where="mid", linewidth=1.8)
            axes.set_yticks([])
            axes.set_ylabel(f"{len(ranked)} classes, least aligned first")
            shown = "\n".join(f"{shortened(name)}  {value:.3f}" for value, name in ranked[:3])
            axes.text(
                0.03, 0.04, "least aligned\n" + shown, transform=axes.transAxes,
                color=INK, fontsize=SMALL, va="bottom", linespacing=1.4,
            )  # fmt: skip
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("cosine of classifier row and class mean; ideal 1", labelpad=4)
        return to_svg(figure, "duals", alt)


def _lines(axes: Axes, values: Sequence[float], left: float) -> None:
    for y, value in enumerate(values):
        axes.plot([left, value], [y, y], color=LINE, linewidth=1.2, zorder=2)
        axes.plot([value], [y], "o", color=TRAIN, markersize=7)
