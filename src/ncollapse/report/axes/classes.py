"""The classes: how wide each one is against how near its nearest neighbour lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes

from ncollapse.report.plots.classes import LABELLED, looseness
from ncollapse.report.plots.labels import font_size, name_dots

if TYPE_CHECKING:
    from ncollapse.report.axes import Parts


def classes(parts: Parts, ax: Axes) -> None:
    """√v_c against the distance to the nearest class mean; area = count; the loosest are named."""
    rows = [row for row in parts.classes or [] if row.count > 1 and row.distance > 0]
    x = np.array([row.distance for row in rows])
    y = np.sqrt([row.within for row in rows])
    counts = np.array([row.count for row in rows], dtype=np.float64)
    areas = 12 + 60 * counts / max(float(counts.max(initial=1.0)), 1.0)
    ax.scatter(x, y, areas, alpha=0.6)
    ax.margins(0.15)
    ranked = sorted(range(len(rows)), key=lambda i: -looseness(rows[i]))[:LABELLED]
    names = {i: rows[i].name for i in ranked}
    text, size = rcParams["text.color"], font_size()
    name_dots(ax, names, x, y, areas, dots=range(len(rows)), ink=text, line="0.5", size=size)
    ax.set_xlabel("distance to the nearest class mean")
    ax.set_ylabel("spread within the class, √v")
