"""The training film in print: triangles along training, and the tetrahedron early and late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from numpy.typing import NDArray

from ncollapse.record.frames import Frames
from ncollapse.report.film.film import View, cells, chosen, corners, plane, space, when
from ncollapse.report.plots.ink import (
    CLASSES,
    FAINT,
    INK,
    LINE,
    NORMAL,
    PANEL,
    canvas,
    place,
    plain,
    style,
    to_svg,
)

Points = NDArray[Any]
# Dots a class in print, so that a page stays small.
DOTS = 60


@dataclass(frozen=True)
class Look:
    """Colours of a drawing: the page's for print, fixed ones for an animation."""

    ink: str = INK
    faint: str = FAINT
    line: str = LINE
    panel: str = PANEL
    classes: tuple[str, ...] = CLASSES
    size: float = 1.0


def triangles(frames: Frames, alt: str, *, count: int = 8) -> str:
    """Small multiples of the plane of three class means, first to last recorded moment."""
    picked = [frames.frames[i] for i in chosen(frames, count)]
    columns = 4
    rows = -(-len(picked) // columns)
    width, side, high = 1140.0, 270.0, 236.0
    with style("film"):
        figure = canvas(width, rows * high + 4)
        for number, frame in enumerate(picked):
            row, column = divmod(number, columns)
            left = column * (width - side) / (columns - 1)
            axes = place(figure, left, (rows - 1 - row) * high + 4, side, high - 26)
            draw_triangle(axes, plane(frame), Look(), dots=DOTS)
            axes.set_title(when(frame), fontsize=NORMAL + 1, color=INK, pad=6)
            if number == 0:
                name_corners(axes, frames, Look())
        return to_svg(figure, "film", alt)


def tetrahedra(frames: Frames, alt: str) -> str | None:
    """Early against last: four class means, their features, classifier and decision planes."""
    if frames.num_classes < 4:
        return None
    first, last = frames.frames[0], frames.frames[-1]
    shown = [first] if first is last else [first, last]
    with style("space"):
        figure = canvas(1140, 470)
        for number, frame in enumerate(shown):
            axes = place(figure, 40 + 540 * number, 4, 520, 440)
            draw_tetrahedron(axes, space(frame), Look(), names=frames.class_names, dots=DOTS)
            axes.set_title(when(frame), fontsize=NORMAL + 1, color=INK, pad=4)
        return to_svg(figure, "space", alt)


def few(labels: Points, dots: int | None) -> Points:
    """The first `dots` samples of every class."""
    if dots is None:
        return np.arange(len(labels))
    kept = [np.flatnonzero(labels == label)[:dots] for label in np.unique(labels)]
    return np.sort(np.concatenate(kept)) if kept else np.arange(0)


def draw_triangle(axes: Axes, view: View, look: Look, *, dots: int | None = None) -> None:
    """Ideal triangle, features, class means and classifier arrows in one plane."""
    ideal = corners(3)
    scale = look.size
    axes.fill(*ideal.T, facecolor=look.line, alpha=0.35, linewidth=0, zorder=0)
    axes.plot(*np.vstack([ideal, ideal[:1]]).T, color=look.faint, linewidth=1.0 * scale, zorder=1)
    kept = few(view.labels, dots)
    for label in range(3):
        mine = view.points[kept][view.labels[kept] == label]
        colour = look.classes[label]
        axes.scatter(
            mine[:, 0], mine[:, 1], 9 * scale**2, color=colour, alpha=0.6, linewidths=0, zorder=3
        )
    if view.weight is not None:
        for label in range(3):
            _arrow(axes, view.weight[label], look.ink, scale)
    axes.scatter(
        view.means[:, 0],
        view.means[:, 1],
        62 * scale**2,
        color=list(look.classes[:3]),
        edgecolors=look.panel,
        linewidths=1.6 * scale,
        zorder=6,
    )
    axes.set_xlim(-1.8, 1.8)
    axes.set_ylim(-1.15, 1.75)
    axes.set_aspect("equal", adjustable="box")
    axes.axis("off")


def name_corners(axes: Axes, frames: Frames, look: Look) -> None:
    """Class names at the ideal corners."""
    for label, corner in enumerate(corners(3)):
        _name(axes, corner, frames.class_names[label], look.classes[label], look)


def _name(axes: Axes, corner: Points, name: str, colour: str, look: Look) -> None:
    """A class name beside a corner, off the ray along which its samples gather."""
    length = float(np.linalg.norm(corner))
    aside = np.array([-corner[1], corner[0]]) / length if length > 0.35 else np.array([0.0, 1.3])
    x, y = 1.08 * corner + 0.36 * aside
    axes.text(
        x,
        y,
        plain(name, 12),
        color=colour,
        ha="center",
        va="center",
        fontsize=NORMAL * look.size,
        weight="bold",
        zorder=8,
    )


def _arrow(axes: Axes, end: Points, colour: str, scale: float) -> None:
    axes.annotate(
        "",
        (float(end[0]), float(end[1])),
        xytext=(0, 0),
        arrowprops={
            "arrowstyle": "-|>,head_length=0.45,head_width=0.2",
            "color": colour,
            "linewidth": 1.3 * scale,
            "shrinkA": 0,
            "shrinkB": 0,
        },
        zorder=5,
        annotation_clip=False,
    )


def turned(points: Points, turn: float, lift: float = 14.0) -> Points:
    """Points (n, 3) as seen from `turn` and `lift` degrees: x, y on paper and depth, in slight
    perspective."""
    a, b = np.radians(turn), np.radians(lift)
    x = points[:, 0] * np.cos(a) - points[:, 1] * np.sin(a)
    depth = points[:, 0] * np.sin(a) + points[:, 1] * np.cos(a)
    y = points[:, 2] * np.cos(b) + depth * np.sin(b)
    depth = depth * np.cos(b) - points[:, 2] * np.sin(b)
    near = 5.0 / (5.0 + depth)
    return np.stack([x * near, y * near, depth], axis=1)


def draw_tetrahedron(
    axes: Axes,
    view: View,
    look: Look,
    *,
    turn: float = 24.0,
    names: tuple[str, ...] = (),
    dots: int | None = None,
) -> None:
    """Tetrahedron, features, means, classifier arrows and decision planes, far before near."""
    scale = look.size
    if view.slopes is not None and view.offsets is not None:
        found = cells(view.slopes, view.offsets)
        seen = [(turned(polygon, turn), i, j) for i, j, polygon in found]
        seen.sort(key=lambda item: -float(item[0][:, 2].mean()))
        axes.add_collection(
            PolyCollection(
                [polygon[:, :2] for polygon, _, _ in seen],
                facecolors=look.faint,
                edgecolors=look.faint,
                linewidths=0.6 * scale,
                alpha=0.16,
                zorder=1,
            )
        )
    ideal = turned(corners(4), turn)
    edges = [(ideal[i], ideal[j]) for i in range(4) for j in range(i + 1, 4)]
    # The vertex farthest away has its edges behind everything: thinner.
    behind = int(np.argmax(ideal[:, 2]))
    far = [behind in (i, j) for i in range(4) for j in range(i + 1, 4)]
    axes.add_collection(
        LineCollection(
            [[a[:2], b[:2]] for a, b in edges],
            colors=look.faint,
            linewidths=[0.7 * scale if hidden else 1.3 * scale for hidden in far],
            linestyles=["--" if hidden else "-" for hidden in far],
            zorder=2,
        )
    )
    kept = few(view.labels, dots)
    flat = turned(view.points[kept], turn)
    labels = view.labels[kept]
    order = np.argsort(-flat[:, 2], kind="stable")
    nearness = np.clip(1 - 0.28 * flat[:, 2], 0.4, 1.6)
    for label in range(4):
        mine = order[labels[order] == label]
        axes.scatter(
            flat[mine, 0],
            flat[mine, 1],
            11 * (scale * nearness[mine]) ** 2,
            color=look.classes[label],
            alpha=0.62,
            linewidths=0,
            zorder=3,
        )
    if view.weight is not None:
        for end in turned(view.weight, turn):
            _arrow(axes, end[:2], look.ink, scale)
    means = turned(view.means, turn)
    for label in np.argsort(-means[:, 2]):
        axes.scatter(
            means[label, 0],
            means[label, 1],
            80 * (scale * (1 - 0.2 * means[label, 2])) ** 2,
            color=look.classes[label],
            edgecolors=look.panel,
            linewidths=1.6 * scale,
            zorder=6,
        )
    for label, name in enumerate(names[:4]):
        _name(axes, ideal[label, :2], name, look.classes[label], look)
    axes.set_xlim(-1.45, 1.45)
    axes.set_ylim(-1.05, 1.5)
    axes.set_aspect("equal", adjustable="box")
    axes.axis("off")


def said_outside(frames: Frames) -> str:
    """What the picture leaves out, at the last frame."""
    frame = frames.frames[-1]
    share = plane(frame).outside
    if share is None:
        return "The features recorded last have no spread within a class."
    recorded = frame.features.shape[1]
    return (
        f"At {when(frame)}, {100 * share:.0f} % of the spread within classes that the {recorded} "
        "recorded directions hold lies outside this plane; what lies in the other directions of "
        "the feature space is not drawn."
    )


__all__ = [
    "Look",
    "draw_tetrahedron",
    "draw_triangle",
    "name_corners",
    "said_outside",
    "tetrahedra",
    "triangles",
]
