"""Critical points of a prediction: loss above the optimum against rank, curvature as colour."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncollapse.report.plots import ink
from ncollapse.report.plots.prediction import PAPER, Colours

WIDTH, HEIGHT = 490.0, 330.0
MAP = "plasma_r"


def landscape_map(document: dict[str, Any], alt: str) -> str | None:
    """Inline SVG, None where the document has no landscape."""
    if not document.get("landscape"):
        return None
    with ink.style("landscape"):
        figure = ink.canvas(WIDTH, HEIGHT)
        _draw(figure, document["landscape"], Colours())
        return ink.to_svg(figure, "landscape", alt)


def save_landscape(document: dict[str, Any], path: Any) -> None:
    """The same on white paper as SVG, PNG or PDF, by the ending."""
    with ink.style("landscape"):
        figure = ink.canvas(WIDTH, HEIGHT)
        figure.set_facecolor("white")
        _draw(figure, document["landscape"], PAPER)
        metadata = {"Date": None} if str(path).endswith(".svg") else None
        figure.savefig(path, metadata=metadata, facecolor="white", dpi=144)


def _draw(figure: Figure, found: dict[str, Any], colours: Colours) -> None:
    axes = ink.place(figure, 62, 44, WIDTH - 62 - 74, HEIGHT - 44 - 14)
    points, unit = found["points"], found["unit"]
    rank = np.array([point["rank"] for point in points], dtype=np.float64)
    above = np.array([point["excess"] for point in points])
    curvature = np.array([point["curvature"] for point in points]) / unit
    lowest = min(float(curvature.min()), -1e-9)
    shades = colormaps[MAP](0.08 + 0.84 * np.clip(curvature / lowest, 0, 1))
    axes.scatter(rank[1:], above[1:], c=shades[1:], s=30, zorder=3, linewidths=0)
    axes.plot(rank[:1], above[:1], "*", color=colours.text, markersize=13, zorder=4)
    near = found.get("nearest")
    there = near is not None and near["point"]["kind"] == points[0]["kind"]
    axes.annotate(
        "optimum, nearest to the network" if there else "optimum",
        (rank[0], above[0]), xytext=(-13, -6), textcoords="offset points",
        ha="right", va="top", color=colours.text, fontsize=ink.SMALL,
    )  # fmt: skip
    if near is not None:
        point = near["point"]
        at = [point["rank"]], [point["excess"]]
        size = 19 if there else 12
        axes.plot(*at, "o", color=colours.model, fillstyle="none", markersize=size, zorder=5)
    if near is not None and not there:
        axes.annotate(
            "nearest to the network", (at[0][0], at[1][0]), xytext=(9, 9),
            textcoords="offset points", color=colours.model, fontsize=ink.SMALL,
            ha="right" if point["rank"] > 0.6 * rank.max() else "left",
        )  # fmt: skip
    axes.set_xlim(-0.5, max(float(rank.max()), 1.0) + 0.5)
    axes.set_ylim(-0.11 * above.max() - 1e-12, 1.1 * above.max() + 1e-12)
    axes.grid(axis="y", color=colours.line)
    _plainly(axes, colours)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("rank of the classifier", labelpad=4, color=colours.faint)
    axes.set_ylabel("objective above the optimum", labelpad=4, color=colours.faint)
    _scale(figure, lowest, colours)


def _plainly(axes: Axes, colours: Colours) -> None:
    """Ticks and frame in the colours of the page or of paper."""
    axes.tick_params(color=colours.line, labelcolor=colours.faint)
    for spine in axes.spines.values():
        spine.set_color(colours.line)


def _scale(figure: Figure, lowest: float, colours: Colours) -> None:
    """What the colours mean, as a column of shades."""
    axes = ink.place(figure, WIDTH - 58, 64, 12, HEIGHT - 110)
    share = np.linspace(0, 1, 41)
    edges = share * lowest
    shades = colormaps[MAP](0.08 + 0.84 * share[:-1])
    axes.barh(edges[:-1], 1, height=np.diff(edges), align="edge", color=shades, linewidth=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(lowest, 0)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="y", nbins=4)
    axes.tick_params(axis="y", length=0, labelcolor=colours.faint)
    axes.spines["right"].set_visible(False)
    axes.set_title("curvature", fontsize=ink.SMALL, color=colours.faint, pad=6)
