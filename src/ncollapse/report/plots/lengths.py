"""Lengths of a classifier's rows, the longest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncollapse.report.plots.ink import FAINT, SMALL, TRAIN, canvas, place, plain, style, to_svg

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 366.0, 306.0, 44.0, 36.0, 16.0
NAMED = 12


def row_lengths(weight: NDArray[Any], alt: str, *, names: Sequence[str] = ()) -> str:
    """Bars for few rows, a line for many; the dashed line is their mean. weight: (K, d)."""
    norms = np.linalg.norm(np.asarray(weight, dtype=np.float64), axis=1)
    order = np.argsort(-norms, kind="stable")
    sizes = norms[order]
    with style("lengths"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, LEFT, BOTTOM, WIDTH - LEFT - 12, HEIGHT - BOTTOM - TOP)
        places = np.arange(len(sizes))
        if len(sizes) <= 200:
            axes.bar(places, sizes, width=0.8, color=TRAIN, alpha=0.6, linewidth=0)
        else:
            axes.plot(places, sizes, color=TRAIN)
            axes.fill_between(places, sizes, color=TRAIN, alpha=0.2, linewidth=0)
        axes.axhline(float(norms.mean()), color=FAINT, linestyle=(0, (4, 3)), linewidth=1)
        axes.set_ylim(0, float(sizes[0]) * 1.08)
        axes.set_xlim(-0.6, len(sizes) - 0.4)
        axes.set_ylabel("length", labelpad=4)
        if len(names) == len(sizes) <= NAMED:
            labels = [plain(names[k], 6) for k in order]
            axes.set_xticks(places, labels, fontsize=SMALL)
        else:
            axes.set_xlabel(f"{len(sizes)} classes", labelpad=4)
            axes.locator_params(axis="x", nbins=5, integer=True)
        axes.tick_params(length=3)
        return to_svg(figure, "lengths", alt)
