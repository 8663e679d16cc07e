"""Theory over a run: cosines measured | predicted | difference, norms and margins side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ncollapse.report.plots import ink

Array = NDArray[np.float64]
ABOVE, BELOW = (0.80, 0.36, 0.0), (0.0, 0.42, 0.72)
WIDTH, HEIGHT, SIDE = 490.0, 344.0, 146.0
ROWS = (("weight", "head"), ("mean", "class means"))


@dataclass(frozen=True)
class Colours:
    """Of text, frames, the measured and the predicted side."""

    text: str = ink.INK
    faint: str = ink.FAINT
    line: str = ink.LINE
    model: str = ink.TRAIN
    theory: str = ink.MARK


PAPER = Colours("#1b1f27", "#69707d", "#c9ccd2", "#0b6bb8", "#8e3d84")


def cosine_maps(document: dict[str, Any], alt: str) -> str:
    """Cosines of classifier rows and of class means as inline SVG."""
    with ink.style("theory-cosines"):
        figure = ink.canvas(WIDTH, HEIGHT)
        _maps(figure, document, Colours(), HEIGHT)
        return ink.to_svg(figure, "theory-cosines", alt)


def norms_and_margins(document: dict[str, Any], alt: str) -> str:
    """Relative norms and logit margins, class by class, as inline SVG."""
    width, height = 366.0, 344.0
    with ink.style("theory-norms"):
        figure = ink.canvas(width, height)
        _norms(figure, document, Colours(), 0.0, width, height)
        return ink.to_svg(figure, "theory-norms", alt)


def prediction_figure(document: dict[str, Any]) -> Figure:
    """Both pictures in one figure on white paper, for files."""
    with ink.style("prediction"):
        figure = ink.canvas(WIDTH + 380, HEIGHT + 4)
        figure.set_facecolor("white")
        _maps(figure, document, PAPER, HEIGHT)
        _norms(figure, document, PAPER, WIDTH + 8, 366.0, HEIGHT)
        return figure


def save_figure(document: dict[str, Any], path: Any) -> None:
    """Write the figure as SVG, PNG or PDF, by the ending; the same document, the same bytes."""
    figure = prediction_figure(document)
    metadata = {"Date": None} if str(path).endswith(".svg") else None
    with ink.style("prediction"):
        figure.savefig(path, metadata=metadata, facecolor="white", dpi=144)


def _order(document: dict[str, Any]) -> list[int]:
    """Classes (or blocks) by count, largest first."""
    geometry = document["geometry"]
    if "blocks" in geometry:
        return list(range(len(geometry["blocks"])))
    counts = document["problem"]["counts"]
    return sorted(range(len(counts)), key=lambda k: (-counts[k], k))


def _matrix(geometry: dict[str, Any], name: str, order: list[int]) -> Array | None:
    rows = geometry.get(f"{name}_cosines")
    if rows is None:
        return None
    values = np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=np.float64)
    return values[np.ix_(order, order)]


def _maps(figure: Figure, document: dict[str, Any], colours: Colours, height: float) -> None:
    against = document.get("against")
    order = _order(document)
    if against is None:
        _alone(figure, document, colours, order, height)
        return
    for line, (name, title) in enumerate(ROWS):
        bottom = height - 18 - SIDE - line * (SIDE + 26)
        predicted = _matrix(document["geometry"], name, order)
        if predicted is None:
            continue
        found = _matrix(against["geometry"], name, order)
        if found is None:
            continue
        gap = found - predicted
        if "blocks" not in document["geometry"]:
            np.fill_diagonal(gap, 0.0)
        reach = max(float(np.nanmax(np.abs(gap))), 1e-9)
        panels = [("model", found, 1.0), ("theory", predicted, 1.0), ("difference", gap, reach)]
        for place, (label, values, scale) in enumerate(panels):
            axes = ink.place(figure, 26 + place * (SIDE + 12), bottom, SIDE, SIDE)
            _heat(axes, values, scale, colours)
            axes.set_title(label, loc="left", fontsize=ink.NORMAL, pad=4, color=colours.text)
            axes.set_title(
                f"±{scale:.2g}" if scale > 1e-6 else "none",
                loc="right", fontsize=ink.SMALL, pad=4, color=colours.faint,
            )  # fmt: skip
            if place == 0:
                axes.set_ylabel(title, color=colours.faint, labelpad=4)


def _alone(
    figure: Figure, document: dict[str, Any], colours: Colours, order: list[int], height: float
) -> None:
    """Theory alone: the head's cosines and those of the class means in one row."""
    side = 226.0
    for place, (name, title) in enumerate(ROWS):
        values = _matrix(document["geometry"], name, order)
        if values is None:
            continue
        left, bottom = 4 + place * (side + 24), (height - side) / 2 - 6
        axes = ink.place(figure, left, bottom, side, side)
        _heat(axes, values, 1.0, colours)
        axes.set_title(title, loc="left", fontsize=ink.NORMAL, pad=4, color=colours.text)
        axes.set_title("±1", loc="right", fontsize=ink.SMALL, pad=4, color=colours.faint)


def _heat(axes: Axes, values: Array, scale: float, colours: Colours) -> None:
    """Colour by sign, opacity by the root of the size: 0 is the page itself, light or dark."""
    shown = np.nan_to_num(values)
    image = np.empty((*shown.shape, 4))
    image[..., :3] = np.where(shown[..., None] > 0, ABOVE, BELOW)
    image[..., 3] = np.sqrt(np.clip(np.abs(shown) / scale, 0, 1))
    axes.imshow(image, interpolation="none", aspect="equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(colours.line)


def _norms(
    figure: Figure,
    document: dict[str, Any],
    colours: Colours,
    left: float,
    width: float,
    height: float,
) -> None:
    """Three strips: ‖w‖ and ‖m‖ over their root mean square, and logit margins."""
    against = document.get("against")
    order = _order(document)
    blocks = document["geometry"].get("blocks")
    strips = [
        ("‖w‖ relative", _relative(document["geometry"], "weight_norms", blocks),
         None if against is None else _relative(against["geometry"], "weight_norms", blocks)),
        ("‖m‖ relative", _relative(document["geometry"], "mean_norms", blocks),
         None if against is None else _relative(against["geometry"], "mean_norms", blocks)),
        ("logit margin", _per_block(document["logit_margins"], blocks),
         None if against is None else _per_block(against["logit_margins"], blocks)),
    ]  # fmt: skip
    high = (height - 62) / 3 - 14
    for line, (title, predicted, found) in enumerate(strips):
        bottom = height - 20 - high - line * (high + 16)
        axes = ink.place(figure, left + 46, bottom, width - 58, high)
        places = np.arange(len(order))
        if predicted is not None:
            axes.plot(
                places, predicted[order], linestyle="none", marker="_", color=colours.theory,
                markersize=max(5.0, min(18.0, 220 / len(order))), markeredgewidth=2.2, zorder=3,
            )  # fmt: skip
        if found is not None:
            axes.plot(
                places, found[order], linestyle="none", marker="o", color=colours.model,
                markersize=max(2.5, min(6.5, 150 / len(order))), zorder=2,
            )  # fmt: skip
        known = [v for v in (predicted, found) if v is not None and np.isfinite(v).any()]
        if line < 2:
            axes.set_ylim(0, 1.15 * max([1.0, *(float(np.nanmax(v)) for v in known)]))
        elif known and min(float(np.nanmin(v)) for v in known) < 0:
            axes.axhline(0, color=colours.faint, linewidth=0.8, zorder=1)
        axes.set_xlim(-0.7, len(order) - 0.3)
        axes.set_xticks([])
        axes.grid(axis="y", color=colours.line)
        axes.set_axisbelow(True)
        axes.locator_params(axis="y", nbins=4)
        axes.tick_params(length=3, pad=2, color=colours.line, labelcolor=colours.faint)
        for spine in axes.spines.values():
            spine.set_color(colours.line)
        axes.set_title(title, loc="left", fontsize=ink.NORMAL, pad=4, color=colours.text)
        if line == 0:
            said = "━ theory" + ("" if found is None else "   ")
            axes.set_title(said, loc="right", fontsize=ink.SMALL, pad=4, color=colours.theory)
            if found is not None:
                axes.set_title(
                    "● model" + " " * 6, loc="center", fontsize=ink.SMALL, pad=4,
                    color=colours.model,
                )  # fmt: skip
        if line == len(strips) - 1:
            counts = document["problem"]["counts"]
            uneven = max(counts) > min(counts)
            what = "blocks of classes" if blocks else "classes"
            axes.set_xlabel(
                f"{what}, {'most samples first' if uneven else 'in order'}",
                color=colours.faint, labelpad=5,
            )  # fmt: skip


def _relative(geometry: dict[str, Any], name: str, blocks: Any) -> Array | None:
    """Norms over their root mean square over classes."""
    if geometry.get(name) is None:
        return None
    values = np.array(geometry[name], dtype=np.float64)
    sizes = np.array([len(block["classes"]) for block in blocks or ()] or [1] * len(values))
    scale = float(np.sqrt((sizes * values**2).sum() / sizes.sum()))
    return values / scale if scale > 0 else values


def _per_block(margins: Any, blocks: Any) -> Array | None:
    """Margins a class, or the mean of each block."""
    if margins is None:
        return None
    values = np.array([np.nan if v is None else v for v in margins], dtype=np.float64)
    if not blocks:
        return values
    return np.array([values[block["classes"]].mean() for block in blocks])
