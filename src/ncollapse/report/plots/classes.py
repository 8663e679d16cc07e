"""The classes: how wide each one is against how near its nearest neighbour lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ncollapse.record.readings import ClassRow
from ncollapse.report.plots.ink import (
    FAINT,
    INK,
    SMALL,
    TEST,
    TRAIN,
    canvas,
    place,
    style,
    to_svg,
)
from ncollapse.report.plots.labels import Box, name_dots

WIDTH, HEIGHT = 490.0, 306.0
LABELLED = 5
# Beyond this many classes their density is shaded, so that a page stays small.
MANY = 400
# Beyond this many classes dots are small.
CROWD = 60
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SHADE = (0.18, 0.50, 0.80)


def looseness(row: ClassRow) -> float:
    """Spread over the distance to the nearest other class mean."""
    return float(np.sqrt(row.within)) / row.distance if row.distance > 0 else float("inf")


def class_scatter(rows: Sequence[ClassRow], alt: str) -> str:
    """√v_c against the distance to the nearest class mean; size = count; the worst are named."""
    drawn = [row for row in rows if row.count > 1 and row.distance > 0 and row.within > 0]
    with style("classes"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, 48, 40, WIDTH - 48 - 14, HEIGHT - 40 - 12)
        x = np.array([row.distance for row in drawn])
        y = np.sqrt(np.array([row.within for row in drawn]))
        (x, x_unit), (y, y_unit) = _handy(x), _handy(y)
        counts = np.array([row.count for row in drawn], dtype=np.float64)
        _scales(axes, x, y)
        ranked = sorted(range(len(drawn)), key=lambda i: -looseness(drawn[i]))[:LABELLED]
        largest = 150.0 if len(drawn) <= CROWD else 60.0
        areas = 14 + largest * counts / max(float(counts.max(initial=1)), 1)
        rest = [i for i in range(len(drawn)) if i not in ranked]
        if len(drawn) <= MANY:
            axes.scatter(x[rest], y[rest], areas[rest], color=TRAIN, alpha=0.55, linewidths=0)
        else:
            _shade(axes, x[rest], y[rest])
        axes.scatter(x[ranked], y[ranked], areas[ranked], color=TEST, alpha=0.8, linewidths=0)
        axes.set_xlabel("distance to the nearest class mean" + x_unit, labelpad=4)
        axes.set_ylabel("spread within the class, √v" + y_unit, labelpad=4)
        axes.grid()
        axes.set_axisbelow(True)
        axes.tick_params(length=3, which="major")
        axes.tick_params(length=0, which="minor")
        said = _guides(axes) if x_unit == y_unit == "" else []
        # A shaded density is no dot that a name could hide.
        dots = range(len(drawn)) if len(drawn) <= MANY else ranked
        name_dots(
            axes, {i: drawn[i].name for i in ranked}, x, y, areas, dots=dots, taken=said,
            ink=INK, line=FAINT, size=SMALL,
        )  # fmt: skip
        return to_svg(figure, "classes", alt)


def _handy(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Values in a power of ten that leaves few digits, and that power for the label."""
    power = int(np.floor(np.log10(values.max()))) if len(values) else 0
    if -2 <= power <= 3:
        return values, ""
    return values / 10.0**power, f" (10{str(power).translate(SUPERSCRIPTS)})"


def scatter_note(rows: Sequence[ClassRow], split: str) -> str:
    """How the scatter is to be read, in words."""
    mine = [row for row in rows if row.split == split]
    left = sum(row.count < 2 for row in mine)
    shade = "size = samples" if len(mine) - left <= MANY else "shade = classes"
    named = "" if len(mine) <= LABELLED else "; loosest five named"
    alone = "singleton" if left == 1 else "singletons"
    return f"{split}; {shade}{named}" + (f"; {left} {alone} left out" if left else "")


def _scales(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Room about the points; a log axis where a linear one would hide the small ones."""
    for values, set_limits, set_scale in (
        (x, axes.set_xlim, axes.set_xscale),
        (y, axes.set_ylim, axes.set_yscale),
    ):
        if not len(values):
            continue
        low, high = float(values.min()), float(values.max())
        if high > 12 * low:
            set_scale("log")
            set_limits(low / 1.6, high * 1.8)
        else:
            pad = max(0.16 * (high - low), 0.1 * high)
            set_limits(max(low - pad, 0.0), high + pad)


def _shade(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """How many classes lie where, as one picture in the page's colour."""
    share = axes.transAxes.inverted().transform(axes.transData.transform(np.stack([x, y], axis=1)))
    counts, _, _ = np.histogram2d(share[:, 1], share[:, 0], bins=(44, 72), range=((0, 1), (0, 1)))
    strength = np.sqrt(counts / max(float(counts.max()), 1.0))
    image = np.zeros((*counts.shape, 4))
    image[..., :3] = SHADE
    image[..., 3] = np.where(counts > 0, 0.15 + 0.85 * strength, 0.0)
    inside = axes.inset_axes((0, 0, 1, 1), zorder=1)
    inside.imshow(image, origin="lower", aspect="auto", interpolation="none")
    inside.axis("off")


def _guides(axes: Axes) -> list[Box]:
    """Lines of equal spread over distance that cross the picture; the boxes of their names."""
    names = []
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    span = np.geomspace(max(left, 1e-6 * right), right, 60)
    drawn = 0
    for share in (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 1e-3, 1e-4, 1e-5, 1e-6):
        inside = (share * span >= bottom) & (share * span <= top)
        if inside.mean() < 0.25 or drawn == 3:
            continue
        drawn += 1
        axes.plot(span, share * span, color=FAINT, linewidth=0.9, dashes=(3, 3), zorder=1)
        end = int(np.flatnonzero(inside)[-1])
        text = f"{share:g} × distance"
        names.append((text, span[end], share * span[end]))
        axes.annotate(
            text,
            (span[end], share * span[end]),
            xytext=(-4, 5),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=FAINT,
            fontsize=9,
        )
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    places = [(text, *axes.transData.transform((x, y)).tolist()) for text, x, y in names]
    return [(x - 4 - 6 * len(text), y + 4, x - 3, y + 18) for text, x, y in places]
