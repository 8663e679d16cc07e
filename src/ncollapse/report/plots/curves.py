"""Readings over training, with the terminal phase marked, or over layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from ncollapse.metrics.catalog import USUAL, shown
from ncollapse.metrics.metric import Metric, Place
from ncollapse.record.readings import HEAD, Results
from ncollapse.record.trace import Trace, TraceRow
from ncollapse.report.plots.ink import (
    FAINT,
    INK,
    LINE,
    MARK,
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
# How the lines of the curve are drawn, in the order of their places in the catalog.
DASHES = ("-", (0, (4, 2)), (0, (1.2, 1.6)))
# The straight line between the first and the last layer.
GEODESIC, DOTS = FAINT, (0, (0.8, 1.4))


@dataclass(frozen=True)
class Line:
    """One line: places along the axis, values, its name and how it is drawn."""

    x: list[float]
    y: list[float]
    name: str
    colour: str
    dashes: object
    open: bool = False


def time_axis(rows: Sequence[TraceRow]) -> tuple[str, dict[int, float]]:
    """What time runs in, and every step's place in it: epochs where all are known, else steps."""
    epochs = {row.step: row.epoch for row in rows}
    known = {step: float(epoch) for step, epoch in epochs.items() if epoch is not None}
    if len(known) == len(epochs):
        return "epoch", known
    return "step", {step: float(step) for step in epochs}


def training_curve(
    trace: Trace,
    alt: str,
    *,
    layer: str = HEAD,
    phase_step: int | None = None,
    phase_epoch: float | None = None,
) -> str | None:
    """Class share (both splits), NC2 and NC3 distances by epoch; the phase from its begin is
    shaded. None where the trace holds fewer than two readings."""
    unit, at = time_axis(trace.rows)
    splits = list(dict.fromkeys(row.split for row in trace.rows))[:2]

    def points(split: str, key: str) -> tuple[list[float], list[float]]:
        steps, values = trace.series(split, layer, key)
        kept = [(s, v) for s, v in zip(steps, values, strict=True) if v is not None]
        return [at[s] for s, _ in kept], [v for _, v in kept]

    lines = [line for line in _drawn(shown("curve"), splits, points) if len(line.x) > 1]
    if not lines:
        return None
    begin = phase_epoch if unit == "epoch" else phase_step
    if begin is None and phase_step is not None:
        begin = at.get(phase_step)
    with style("curve"):
        figure = canvas(WIDTH, HEIGHT)
        axes = _axes(figure_axes := place(figure, 34, 40, WIDTH - 34 - 92, HEIGHT - 40 - 22))
        low = min(line.x[0] for line in lines)
        high = max(line.x[-1] for line in lines)
        if low > 0 and high / low >= 20:
            axes.set_xscale("log")
            ticks = [
                t for t in (1, 3, 10, 30, 100, 300, 1000, 3000, 10**4, 10**5) if low <= t <= high
            ]
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
            axes.set_xticks([], minor=True)
        axes.set_xlim(low, high)
        _lines(figure_axes, lines)
        if begin is not None:
            start = max(float(begin), low)
            axes.axvspan(start, high, color=MARK, alpha=0.09, linewidth=0, zorder=0)
            axes.axvline(start, color=MARK, linewidth=1.2, zorder=1)
            said = f"terminal phase from {unit} {begin:g}"
            axes.annotate(
                said,
                (1, 1),
                xycoords="axes fraction",
                xytext=(0, 6),
                textcoords="offset points",
                color=MARK,
                fontsize=SMALL,
                ha="right",
                annotation_clip=False,
            )
        axes.set_xlabel(unit, labelpad=3)
        return to_svg(figure, "curve", alt)


def layer_curve(
    results: Results,
    alt: str,
    *,
    last: str = HEAD,
    path: Mapping[str, Any] | None = None,
    split: str | None = None,
    finished: str | None = None,
    task: str = USUAL,
) -> str | None:
    """The first curve of a task (class share) by layer, first to last; None with a single layer.

    path: of `split`, what its samples would read on the straight line between the ends of the path
    (`Document.paths`), drawn over the same lines. finished: the layer to mark, from which on the
    network decides nothing anew.
    """
    names = list(dict.fromkeys(layer for layers in results.values() for layer in layers))
    if len(names) < 2:
        return None
    names = [name for name in names if name != last] + [name for name in names if name == last]
    splits = list(results)[:2]

    def points(split: str, key: str) -> tuple[list[float], list[float]]:
        kept = [
            (float(i), reading.value)
            for i, name in enumerate(names)
            if (reading := results[split].get(name, {}).get(key)) is not None
            and reading.value is not None
        ]
        return [place for place, _ in kept], [v for _, v in kept]

    # Only the last layer has a head to compare with.
    rows = [(row, at) for row, at in shown("curve", task) if "head" not in row.needs]
    lines = [line for line in _drawn(rows, splits, points) if line.x]
    if not lines:
        return None
    straight = _straight(path, names) if path and split in splits else {}
    with style("curve"):
        figure = canvas(WIDTH, HEIGHT)
        axes = _axes(place(figure, 56, 66, WIDTH - 56 - 92, HEIGHT - 66 - 14))
        axes.set_xlim(-0.2, len(names) - 0.8)
        step = -(-len(names) // 10)
        ticks = list(range(len(names) - 1, -1, -step))[::-1]
        labels = [plain(names[i] if len(names[i]) <= 11 else "…" + names[i][-10:]) for i in ticks]
        axes.set_xticks(ticks, labels, rotation=35, ha="right", rotation_mode="anchor")
        if finished in names:
            at = names.index(finished)
            axes.axvline(at, color=MARK, linewidth=1.2, zorder=1)
            axes.annotate(
                "finished",
                (at, 1),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, 3),
                textcoords="offset points",
                color=MARK,
                fontsize=SMALL,
                ha="left" if at < 0.2 * len(names) else "right",
                annotation_clip=False,
            )
        for x, y in straight.values():
            axes.plot(x, y, color=GEODESIC, linestyle=DOTS, linewidth=1.2, zorder=2)
        if straight:
            axes.annotate(
                "··· on a straight path",
                (0.02, 0.02),
                xycoords="axes fraction",
                color=GEODESIC,
                fontsize=SMALL,
            )
        _lines(axes, lines)
        return to_svg(figure, "curve", alt)


def _straight(
    path: Mapping[str, Any], names: Sequence[str]
) -> dict[str, tuple[list[float], list[float]]]:
    """What the interpolated samples read, as lines over the layers: their class share, from the
    ratio of scatters, and their distance from the simplex."""
    predicted = path["predicted"]
    size = int(path.get("num_samples") or 0)
    found: dict[str, tuple[list[float], list[float]]] = {}
    for key, name in (("ratio", "class_share"), ("pfc2", "nc2_etf_means")):
        kept = [
            (float(names.index(layer)), value)
            for layer, value in zip(path["layers"], predicted.get(key, ()), strict=False)
            if layer in names and value is not None
        ]
        if key == "ratio" and size > 1:
            kept = [(x, 1 / (1 + value)) for x, value in kept]
        if len(kept) > 1:
            found[name] = [x for x, _ in kept], [y for _, y in kept]
    return found


def _drawn(
    rows: Sequence[tuple[Metric, Place]],
    splits: Sequence[str],
    points: Callable[[str, str], tuple[list[float], list[float]]],
) -> list[Line]:
    """The lines of these metrics, the first of them for both splits."""
    lines = []
    for number, (row, at) in enumerate(rows):
        first = number == 0
        for which, split in enumerate(splits if first else splits[:1]):
            x, y = points(split, row.key)
            name = f"{at.title}, {split}" if first else at.title
            colour = (TRAIN, TEST)[which] if first else INK
            lines.append(Line(x, y, name, colour, DASHES[number % len(DASHES)], which == 1))
    return lines


def _axes(axes: Axes) -> Axes:
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.tick_params(length=3, pad=3)
    return axes


def _lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Lines with their names at the right end, moved apart where they meet."""
    top = max(1.0, *(max(line.y) for line in lines)) * 1.02
    bottom = min(0.0, *(min(line.y) for line in lines))
    axes.set_ylim(bottom, top)
    for line in lines:
        axes.plot(
            line.x,
            line.y,
            color=line.colour,
            linestyle=line.dashes,
            linewidth=1.8 if line.dashes == "-" else 1.3,
            marker="o" if line.dashes == "-" else None,
            markersize=4,
            markerfacecolor="none" if line.open else line.colour,
            clip_on=False,
            zorder=3,
        )
    height = HEIGHT * axes.get_position().height
    ends = apart([(line.y[-1] - bottom) / (top - bottom) * height for line in lines], 13.0, height)
    for line, end in zip(lines, ends, strict=True):
        name = line.name.replace("class share, ", "share, ")
        beside(axes, end / height, name, line.colour if line.colour != INK else FAINT)
    axes.spines["bottom"].set_color(LINE)


def apart(places: Sequence[float], gap: float, height: float) -> list[float]:
    """The places moved as little as needed to lie `gap` apart within 0 to `height`."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    found = [places[i] for i in order]
    for i in range(1, len(found)):
        found[i] = max(found[i], found[i - 1] + gap)
    over = max(0.0, found[-1] - height)
    found[-1] -= over
    for i in range(len(found) - 2, -1, -1):
        found[i] = min(found[i], found[i + 1] - gap)
    return [value for _, value in sorted(zip(order, found, strict=True))]
