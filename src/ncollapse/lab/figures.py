"""Axes of the studies' figures, in the report's colours; to be called within its style."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ncollapse.report.plots.ink import CLASSES, FAINT, INK, LINE, MARK, canvas, place

WIDTH, HEIGHT = 560.0, 330.0


@dataclass(frozen=True)
class Ink:
    """Colours that light and dark pages replace by their own."""

    text: str = INK
    faint: str = FAINT
    line: str = LINE
    mark: str = MARK
    first: str = CLASSES[0]
    second: str = CLASSES[1]
    third: str = CLASSES[2]
    fourth: str = CLASSES[3]

    @property
    def all(self) -> tuple[str, ...]:
        return (self.first, self.second, self.third, self.fourth)


def axes(x: str, y: str, log: str = "") -> tuple[Figure, Axes, Ink]:
    """A figure with one pair of axes; log: "x", "y" or "xy"."""
    figure = canvas(WIDTH, HEIGHT)
    area = place(figure, 70, 52, WIDTH - 70 - 20, HEIGHT - 52 - 18)
    area.set_xlabel(x)
    area.set_ylabel(y)
    area.grid(axis="y")
    area.set_axisbelow(True)
    if "x" in log:
        area.set_xscale("log")
    if "y" in log:
        area.set_yscale("log")
    return figure, area, Ink()


def finish(figure: Figure, area: Axes) -> Figure:
    """The figure with its legend, and plain numbers on axes in powers of ten."""
    for axis in (area.xaxis, area.yaxis):
        if axis.get_scale() == "log":
            low, high = axis.get_view_interval()
            few = high < 50 * low
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    if area.get_legend_handles_labels()[0]:
        area.legend(frameon=False, fontsize=10)
    return figure
