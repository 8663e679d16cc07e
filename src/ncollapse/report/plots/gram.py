"""The Gram heat map: cosines of centred class means, measured, ideal and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ncollapse.report.plots.ink import (
    FAINT,
    INK,
    LINE,
    MARK,
    NORMAL,
    SMALL,
    TRAIN,
    canvas,
    place,
    plain,
    style,
    to_svg,
)

Array = NDArray[np.float64]
# Beyond so many classes neighbours are averaged, into so many blocks: few enough to be seen.
SINGLE, BLOCKS = 50, 30
# Colours reach their full strength no earlier than here, so that rounding is no pattern.
LEAST, LEAST_GAP = 0.1, 0.01
WIDTH, HEIGHT, SIDE = 366.0, 306.0, 126.0
ABOVE, BELOW = (0.80, 0.36, 0.0), (0.0, 0.42, 0.72)


def gram_map(
    means: NDArray[Any],
    alt: str,
    *,
    predicted: NDArray[Any] | None = None,
    names: Sequence[str] = (),
    counts: NDArray[Any] | None = None,
) -> str:
    """measured | ideal (or predicted) | difference, and how all cosines are spread.

    means: (K, d), centred here. predicted: class means (K, any width) of a theory; the simplex
    without. Never forms a K × K matrix above 50 classes.
    """
    unit = units(means)
    theory = None if predicted is None else units(predicted)
    if theory is not None and len(theory) != len(unit):
        raise ValueError(
            f"the prediction has {len(theory)} classes and the measurement {len(unit)}; the same "
            "classes in the same order are needed"
        )
    order, sizes = blocks_of(unit, counts)
    measured = block_cosines(unit[order], sizes)
    ideal = _simplex(len(unit), sizes)
    if theory is not None:
        ideal = block_cosines(theory[order], sizes)
    blocks = len(sizes)
    off = ~np.eye(blocks, dtype=bool) if blocks == len(unit) else np.ones((blocks, blocks), bool)
    gap = np.where(off, measured - ideal, 0.0)
    reach = max(float(np.abs(gap).max()), LEAST_GAP)
    single = blocks == len(unit)
    # Blocks have no cosine of 1 with themselves: their own size is the scale, of the gap too.
    scale = 1.0 if single else max(float(np.abs(measured).max()), LEAST)
    reach = reach if single else max(scale, reach)
    with style("gram"):
        figure = canvas(WIDTH, HEIGHT)
        right, top = WIDTH - SIDE - 12, HEIGHT - SIDE - 18
        panels = (
            (42.0, top, "measured", measured, scale),
            (right, top, "simplex" if theory is None else "predicted", ideal, scale),
            (42.0, 18.0, "difference", gap, reach),
        )
        shown = [plain(names[i], 5) for i in order] if len(names) == len(unit) <= 12 else []
        if len(set(shown)) < len(shown):
            shown = []  # cut names that look alike say nothing
        for left, bottom, title, values, size in panels:
            axes = place(figure, left, bottom, SIDE, SIDE)
            heat(axes, values, size, root=single)
            said = f"±{size:.2g}" if np.abs(values).max() > 1e-6 else "none"
            axes.set_title(title, loc="left", fontsize=NORMAL, pad=4, color=INK)
            axes.set_title(said, loc="right", fontsize=SMALL, pad=4, color=FAINT)
            if shown and left < right:
                font = SMALL if len(shown) <= 10 else 8.5
                axes.set_yticks(range(blocks), shown, fontsize=font)
        side = place(figure, right, 18, SIDE, SIDE - 6)
        _spread(side, measured[off], ideal[off])
        return to_svg(figure, "gram", alt)


def gram_note(classes: int, counts: NDArray[Any] | None) -> str:
    """How the heat map orders the classes, in words."""
    if classes > SINGLE:
        return f"mean cosines, {BLOCKS} sorted blocks"
    return "cosines, " + ("largest class first" if _uneven(counts) else "in class order")


def _uneven(counts: NDArray[Any] | None) -> bool:
    return counts is not None and bool(counts.max() >= 2 * max(int(counts.min()), 1))


def units(means: NDArray[Any]) -> Array:
    """Rows centred on their mean and scaled to length 1 (0 where a row is the mean itself)."""
    rows = np.asarray(means, dtype=np.float64)
    rows = rows - rows.mean(0)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def block_cosines(unit: Array, sizes: NDArray[np.int64]) -> Array:
    """Mean cosine of every two blocks of consecutive rows; a row is never paired with itself,
    except in a block of one."""
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums = np.add.reduceat(unit, starts, axis=0)
    total = sums @ sums.T
    pairs = np.outer(sizes, sizes).astype(np.float64)
    inner = np.diagonal(total) - np.add.reduceat((unit**2).sum(1), starts)
    several = sizes > 1
    single = np.diagonal(total)
    means = total / pairs
    own = np.where(several, inner / np.maximum(sizes * (sizes - 1), 1), single)
    np.fill_diagonal(means, own)
    return means


def measured_blocks(unit: Array, order: NDArray[np.int64], sizes: NDArray[np.int64]) -> Array:
    """Mean cosines of the classes in this order, by blocks of these sizes."""
    return block_cosines(unit[order], sizes)


def _simplex(classes: int, sizes: NDArray[np.int64]) -> Array:
    ideal = np.full((len(sizes), len(sizes)), -1 / (classes - 1))
    np.fill_diagonal(ideal, np.where(sizes > 1, -1 / (classes - 1), 1.0))
    return ideal


def blocks_of(
    unit: Array, counts: NDArray[Any] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which class comes where, and how many share a block. Few classes: by count where counts
    differ, so that merging small classes are one bright corner; many: similar ones together."""
    classes = len(unit)
    if classes <= SINGLE:
        order = np.arange(classes)
        if counts is not None and _uneven(counts):
            order = np.argsort(-counts, kind="stable")
        return order, np.ones(classes, dtype=np.int64)
    leaf = max(1, classes // BLOCKS)
    order = np.array(_bisect(unit, np.arange(classes), leaf), dtype=np.int64)
    sizes = np.full(BLOCKS, classes // BLOCKS, dtype=np.int64)
    sizes[: classes % BLOCKS] += 1
    return order, sizes


def _bisect(unit: Array, rows: NDArray[np.int64], leaf: int) -> list[int]:
    """Part along the direction of most variance, at the widest gap there, until few are left:
    similar classes meet."""
    if len(rows) <= leaf:
        return [int(i) for i in rows]
    part = unit[rows] - unit[rows].mean(0)
    direction = part[int(np.argmax((part**2).sum(1)))]
    for _ in range(8):  # power iteration: an order is needed, not an eigenvector
        direction = part.T @ (part @ direction)
        direction /= max(float(np.linalg.norm(direction)), 1e-300)
    along = part @ direction
    ranks = np.argsort(along, kind="stable")
    order = rows[ranks]
    # Never far from the middle, so that outliers are not split off one by one.
    low = max(1, len(rows) // 5)
    gaps = np.diff(along[ranks])[low - 1 : len(rows) - low]
    half = low + int(np.argmax(gaps))
    return _bisect(unit, order[:half], leaf) + _bisect(unit, order[half:], leaf)


def heat(axes: Axes, values: Array, scale: float, *, root: bool = True) -> None:
    """Colour by sign, opacity by the size, or its root, which shows small ones: 0 is the page
    itself, light or dark."""
    strength = np.clip(np.abs(values) / scale, 0, 1)
    strength = np.sqrt(strength) if root else strength
    image = np.empty((*values.shape, 4))
    image[..., :3] = np.where(values[..., None] > 0, ABOVE, BELOW)
    image[..., 3] = strength
    axes.imshow(image, interpolation="none", aspect="equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(LINE)


def _spread(axes: Axes, measured: Array, ideal: Array) -> None:
    """Histogram of the cosines between different classes, with where they ought to be."""
    low = min(float(measured.min()), float(ideal.min()))
    high = max(float(measured.max()), float(ideal.max()))
    pad = max(0.08 * (high - low), 0.02)
    heights, edges = np.histogram(measured, bins=18, range=(low - pad, high + pad))
    axes.stairs(heights, edges, fill=True, color=TRAIN, alpha=0.55, linewidth=0)
    axes.set_ylim(0, max(1, int(heights.max())) * 1.1)
    exact = float(np.ptp(ideal)) < 1e-9
    if exact:
        axes.axvline(float(ideal.flat[0]), color=MARK, linewidth=1.6)
    else:
        expected, _ = np.histogram(ideal, bins=edges)
        axes.stairs(expected, edges, color=MARK, linewidth=1.4)
        axes.set_ylim(0, max(1, int(heights.max()), int(expected.max())) * 1.1)
    axes.set_title("all cosines", loc="left", fontsize=NORMAL, pad=4, color=INK)
    axes.set_title("┃ ideal" if exact else "┃ predicted", loc="right", fontsize=SMALL, color=MARK)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=3)
    axes.tick_params(length=3, pad=2)
