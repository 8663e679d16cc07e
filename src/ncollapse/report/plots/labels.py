"""Names beside dots that cover neither one another nor a dot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.transforms import BboxBase
from numpy.typing import NDArray

Array = NDArray[np.float64]
Box = tuple[float, float, float, float]
LONGEST = 16
# Beside a dot, by the direction from it, then ever farther away.
PLACES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1.2), (-1, 1.2), (1, -1.2), (-1, -1.2))
AWAY = (0.0, 12.0, 26.0, 42.0)
# Where nothing beside a dot is free, names go to the nearest free place of such a grid.
GRID = 24
# Widths of letters over the size of the font, in the widest of the fonts that pages use.
WIDE = 0.64


def font_size() -> float:
    """The reader's font size in points."""
    return float(FontProperties(size=rcParams["font.size"]).get_size_in_points())


def shortened(text: str, longest: int = LONGEST) -> str:
    """A name of one line, cut in its middle: what tells names apart often stands at their end."""
    line = "".join(c if c.isprintable() else " " for c in text).strip()
    if len(line) <= longest:
        return line
    tail = (longest - 1) // 2
    return f"{line[: longest - 1 - tail]}…{line[-tail:]}"


def name_dots(
    axes: Axes,
    names: Mapping[int, str],
    x: Array,
    y: Array,
    areas: Array,
    *,
    dots: Iterable[int],
    ink: str,
    line: str,
    size: float,
    taken: Sequence[Box] = (),
) -> None:
    """Write names (by index of their dot) at the first place where neither a dot, another name nor
    a `taken` box (in pixels) stands, with a line to the dot from farther away; a name without any
    such place is left out. areas: of dots in square points, as `scatter` takes them."""
    axes.apply_aspect()
    # Places are of the limits that will be drawn: matplotlib settles them late, and a line to a dot
    # must not move them.
    axes.autoscale_view()
    axes.set_autoscale_on(False)
    pixel = axes.figure.dpi / 72
    frame = axes.get_window_extent()
    spots = axes.transData.transform(np.stack([x, y], axis=1))
    radii = np.sqrt(areas / np.pi) * pixel
    shown = list(dots)
    at, reach = spots[shown], radii[shown, None]
    boxes = np.concatenate([at - reach, at + reach], axis=1)
    boxes = np.concatenate([boxes, np.asarray(taken, dtype=np.float64).reshape(-1, 4)])
    for i, name in names.items():
        text = shortened(name)
        wide, high = WIDE * size * pixel * len(text) + 2, (size + 3) * pixel
        places = _places(spots[i], float(radii[i]) + 3 * pixel, wide, high, frame, pixel)
        found = next((p for p in places if _free(_box(p, wide, high), frame, boxes)), None)
        if found is None:
            continue
        left, middle, away = found
        boxes = np.concatenate([boxes, np.array([_box(found, wide, high)])])
        spot = axes.transData.inverted().transform((left, middle))
        axes.text(spot[0], spot[1], text, color=ink, va="center", fontsize=size, zorder=6)
        if away:
            edge = min(max(float(spots[i][0]), left), left + wide)
            end = axes.transData.inverted().transform((edge, middle))
            axes.plot([x[i], end[0]], [y[i], end[1]], color=line, linewidth=0.8, zorder=1.5)


def _places(
    spot: Array, radius: float, wide: float, high: float, frame: BboxBase, pixel: float
) -> Iterable[tuple[float, float, bool]]:
    """(left, middle, whether a line is needed) of a name's box, the nearest first."""
    for away, (dx, dy) in product(AWAY, PLACES):
        reach = radius + away * pixel
        left = float(spot[0]) + dx * reach
        left -= wide if dx < 0 else wide / 2 if dx == 0 else 0
        yield left, float(spot[1]) + dy * (reach + (high / 2 if dx == 0 else 2)), bool(away)
    across = np.linspace(frame.x0 + 2, max(frame.x0 + 2, frame.x1 - wide - 2), GRID)
    up = np.linspace(frame.y0 + high / 2 + 2, frame.y1 - high / 2 - 2, GRID)
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    gaps = np.hypot(grid[:, 0] + wide / 2 - spot[0], grid[:, 1] - spot[1])
    for left, middle in grid[np.argsort(gaps, kind="stable")].tolist():
        yield left, middle, True


def _box(place: tuple[float, float, bool], wide: float, high: float) -> Box:
    left, middle, _ = place
    return left, middle - high / 2, left + wide, middle + high / 2


def _free(box: Box, frame: BboxBase, boxes: Array) -> bool:
    """Whether a box lies inside the frame and meets none of the boxes."""
    inside = frame.x0 <= box[0] and box[2] <= frame.x1 and frame.y0 <= box[1] and box[3] <= frame.y1
    apart = (boxes[:, 2] <= box[0]) | (box[2] <= boxes[:, 0])
    apart |= (boxes[:, 3] <= box[1]) | (box[3] <= boxes[:, 1])
    return bool(inside) and bool(apart.all())
