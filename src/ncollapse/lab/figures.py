"""Figures of studies, in the report's colours; to be called within its style.

A study's figures.py says `draw = Drawing()` and, before each function that paints a figure,
`@draw.figure(…)`; the first words of that function, its docstring, tell what the figure shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from ncollapse.lab.study import Units
from ncollapse.report.plots.ink import CLASSES, FAINT, INK, LINE, MARK, canvas, place

Row = Mapping[str, Any]
Runs = Sequence[Row]
Paint = Callable[..., None]
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
    """The figure with its legend, each label in it once, and plain numbers on axes in powers of
    ten."""
    for axis in (area.xaxis, area.yaxis):
        if axis.get_scale() == "log":
            low, high = axis.get_view_interval()
            few = high < 50 * low
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    entries: dict[str, Any] = {}
    for handle, label in zip(*area.get_legend_handles_labels(), strict=True):
        entries.setdefault(label, handle)
    if entries:
        area.legend(list(entries.values()), list(entries), frameon=False, fontsize=10)
    return figure


# ---- the figures of a study ---------------------------------------------------------------------
@dataclass(frozen=True)
class Plot:
    """A figure: paint(area, ink, runs of each part) is called where one of the parts has runs."""

    parts: tuple[str, ...]
    axes: tuple[str, str, str]
    alt: str
    paint: Paint


@dataclass
class Drawing:
    """The figures of a study by name; called with the data of all finished runs it draws them."""

    plots: dict[str, Plot] = field(default_factory=dict)

    def figure(
        self, *parts: str, x: str = "", y: str = "", log: str = ""
    ) -> Callable[[Paint], Paint]:
        """The function that follows paints a figure of its name (- for _) from runs of `parts`."""

        def keep(paint: Paint) -> Paint:
            name = paint.__name__.replace("_", "-")
            alt = " ".join((paint.__doc__ or name).split()).rstrip(".")
            self.plots[name] = Plot(parts, (x, y, log), alt, paint)
            return paint

        return keep

    def __call__(self, units: Units) -> dict[str, tuple[str, Figure]]:
        made = {}
        for name, plot in self.plots.items():
            runs = [units[part] for part in plot.parts]
            if any(runs):
                figure, area, ink = axes(*plot.axes)
                plot.paint(area, ink, *runs)
                made[name] = (plot.alt, finish(figure, area))
        return made


def grouped(rows: Runs, key: str) -> dict[Any, Runs]:
    """Rows by their value of `key`, in the order in which values are met."""
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        value = row[key]
        found.setdefault(tuple(value) if isinstance(value, list) else value, []).append(row)
    return dict(found)


def columns(rows: Runs, *keys: str) -> tuple[list[Any], ...]:
    """A list of the rows' values for each key."""
    return tuple([row[key] for row in rows] for key in keys)


def curves(
    area: Axes,
    ink: Ink,
    series: Mapping[str, Sequence[ArrayLike]],
    style: str = "-",
    **look: Any,
) -> None:
    """One curve (x, y) a label, each in a colour of its own; as many as there are colours."""
    for (label, (x, y)), colour in zip(series.items(), ink.all, strict=False):
        area.plot(x, y, style, color=colour, label=label, **look)


def along_epochs(area: Axes, row: Row, colour: str, label: str) -> None:
    """Readings of a row by epoch."""
    epochs = range(1, len(row["readings"]) + 1)
    area.plot(epochs, row["readings"], color=colour, linewidth=1, label=label)


def by_point(area: Axes, ink: Ink, runs: Runs) -> None:
    """Accuracy on unseen classes by set point, a line a seed; crosses: nothing was held."""
    for run, colour in zip(runs, ink.all * len(runs), strict=False):
        points, unseen = columns(run["rows"], "point", "unseen")
        area.plot(points, unseen, "o-", color=colour, label=f"seed {run['seed']}")
        if "plain" in run:
            area.plot([run["plain"]["median"]], [run["plain"]["unseen"]], "x", color=colour)
