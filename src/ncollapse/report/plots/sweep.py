"""Readings of many runs against a setting, along training, or by run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from ncollapse.metrics.catalog import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ncollapse.report.comparing.compared import Compared, Row

# Panels beside each other, and how many are drawn unasked.
BESIDE, PANELS = 3, 3
NAMED = 12
COURSES = ("step", "epoch")


def sweep_plot(
    compared: Compared, x: str | None, keys: Sequence[str] | None, ax: Any = None
) -> Any:
    """(figure, axes) of `Compared.plot`; a list of axes where there are several keys.

    Raises ValueError for keys that no run has, several keys in one `ax`, and "step" or "epoch"
    where no run keeps a trace.
    """
    rows = compared.headline(keys)
    if keys is None:
        rows = rows[:PANELS]
    if not rows:
        raise ValueError(f"no run has the readings {', '.join(keys or ())}")
    if ax is not None and len(rows) > 1:
        raise ValueError(f"one ax holds one reading; pass keys=[{rows[0].key!r}], or no ax")
    if ax is not None:
        panels, figure = [ax], ax.figure
    else:
        across = min(len(rows), BESIDE)
        down = -(-len(rows) // BESIDE)
        figure = Figure(figsize=(4.4 * across, 3.3 * down), layout="constrained")
        panels = [figure.add_subplot(down, across, place + 1) for place in range(len(rows))]
    for row, axes in zip(rows, panels, strict=True):
        if x in COURSES:
            _course(compared, row, str(x), axes)
        else:
            _points(compared, row, x, axes)
        axes.set_title(row.key, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels[0] if len(panels) == 1 else panels


def _points(compared: Compared, row: Row, x: str | None, axes: Axes) -> None:
    """Values with their intervals, filled where they differ from the baseline beyond noise."""
    along = list(compared.names) if x is None else compared.along(x)
    numbers = all(isinstance(value, float) for value in along)
    known = list(dict.fromkeys(along))
    places = [value if numbers else float(known.index(value)) for value in along]
    order = sorted(range(len(places)), key=lambda place: float(places[place]))
    shown = [place for place in order if _best(row, place) is not None]
    spots = [float(places[place]) for place in shown]
    values = [_best(row, place) or 0.0 for place in shown]
    ends = [row.readings[place].interval for place in shown]  # type: ignore[union-attr]
    low = [max(0.0, v - e[0]) if e else 0.0 for v, e in zip(values, ends, strict=True)]
    high = [max(0.0, e[1] - v) if e else 0.0 for v, e in zip(values, ends, strict=True)]
    axes.errorbar(
        spots, values, yerr=[low, high], fmt="-" if numbers and x is not None else "none",
        color="#3a6ea5", linewidth=1.2, elinewidth=1.2, capsize=2,
    )  # fmt: skip
    for place, spot, value in zip(shown, spots, values, strict=True):
        gap = row.differences[place]
        beyond = gap is not None and gap.differs is True
        face = "#3a6ea5" if beyond or place == compared.baseline else "white"
        marker = "D" if place == compared.baseline else "o"
        axes.plot([spot], [value], marker, markerfacecolor=face, color="#3a6ea5", markersize=5)
    if numbers and min(spots, default=0) > 0 and max(spots) / min(spots) >= 30:
        axes.set_xscale("log")
    if not numbers:
        step = max(1, -(-len(known) // NAMED))
        ticks = range(0, len(known), step)
        axes.set_xticks(list(ticks), [str(known[k])[-16:] for k in ticks], rotation=30, ha="right")
    axes.set_xlabel(x or "run")
    _scale(row, values, axes)


def _course(compared: Compared, row: Row, x: str, axes: Axes) -> None:
    """A line a run, from its trace."""
    drawn = 0
    highest: list[float] = []
    for name, trace in zip(compared.names, compared.traces(), strict=True):
        if trace is None:
            continue
        epochs = {point.step: point.epoch for point in trace.rows}
        steps, found = trace.series(row.split, row.layer, row.key)
        pairs = [
            (float(step if x == "step" else epochs.get(step) or 0.0), value)
            for step, value in zip(steps, found, strict=True)
            if value is not None and (x == "step" or epochs.get(step) is not None)
        ]
        if pairs:
            axes.plot(*zip(*pairs, strict=True), label=name[-20:], linewidth=1.2)
            highest += [value for _, value in pairs]
            drawn += 1
    if not drawn:
        raise ValueError(
            f"no run keeps a trace of {row.key} by {x}; follow training with nc.Tracker, or pass "
            "x=config.KEY"
        )
    if drawn <= NAMED:
        axes.legend(fontsize=7, frameon=False)
    axes.set_xlabel(x)
    _scale(row, highest, axes)


def _best(row: Row, place: int) -> float | None:
    reading = row.readings[place]
    return None if reading is None else reading.best


def _scale(row: Row, values: Sequence[float], axes: Axes) -> None:
    """Logarithmic where the reading's own scale is, and it varies by much."""
    known = METRICS.get(row.key)
    positive = bool(values) and min(values) > 0
    if known is not None and known.scale == "log" and positive and max(values) > 20 * min(values):
        axes.set_yscale("log")
