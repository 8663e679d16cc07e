"""Figures of regression: the features' spectrum, the head's Gram matrix, the errors of the
targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from ncollapse.report.plots.gram import heat
from ncollapse.report.plots.ink import (
    FAINT,
    INK,
    LINE,
    MARK,
    NORMAL,
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

Array = NDArray[np.float64]
WIDTH, HEIGHT, SIDE = 366.0, 306.0, 126.0
# So many eigenvalues are drawn, so many targets have a line with their name.
DRAWN, NAMED = 16, 16


def scree(
    spectra: Sequence[tuple[str, Sequence[float]]],
    number: int,
    alt: str,
    predicted: Sequence[float] | None = None,
) -> str | None:
    """Eigenvalues of the features' covariance, largest first, on a log axis; the first `number`,
    one a target, are shaded. predicted: those of a theory. None without a spectrum."""
    known = [(name, np.array(values[:DRAWN])) for name, values in spectra[:2] if len(values)]
    if not known:
        return None
    top = max(float(values.max()) for _, values in known)
    if not top > 0:
        return None
    with style("scree"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, 46, 40, WIDTH - 46 - 78, HEIGHT - 40 - 22)
        longest = max(len(values) for _, values in known)
        axes.set_yscale("log")
        axes.axvspan(0.4, number + 0.5, color=MARK, alpha=0.09, linewidth=0, zorder=0)
        axes.text(
            number + 0.5 if number > longest / 2 else 0.55, 1.02, f"{number} targets" if number > 1
            else "1 target", transform=axes.get_xaxis_transform(), color=MARK, fontsize=SMALL,
            ha="right" if number > longest / 2 else "left", va="bottom",
        )  # fmt: skip
        least = max(min(float(v[v > 0].min()) for _, v in known), 1e-12 * top)
        for which, (name, values) in enumerate(known):
            shown = np.maximum(values, least / 2)
            axes.plot(
                range(1, len(shown) + 1), shown, "o-", color=(TRAIN, TEST)[which], markersize=5,
                markerfacecolor="none" if which else (TRAIN, TEST)[which], zorder=3,
            )  # fmt: skip
            place_y = axes.transAxes.inverted().transform(
                axes.transData.transform((1.0, float(shown[-1])))
            )[1]
            beside(axes, min(max(float(place_y), 0.03), 0.97) + 0.06 * which, plain(name, 9),
                   (TRAIN, TEST)[which])  # fmt: skip
        if predicted is not None:
            values = np.array([value for value in predicted[:DRAWN] if value > 0])
            axes.plot(
                range(1, len(values) + 1), values, "_", color=INK, markersize=16,
                markeredgewidth=2, zorder=4,
            )  # fmt: skip
            axes.text(
                1.0, 1.02, "― theory", transform=axes.transAxes, color=INK, fontsize=SMALL,
                ha="right", va="bottom",
            )  # fmt: skip
        axes.set_xlim(0.4, longest + 0.6)
        axes.set_ylim(least / 3, 3 * max(top, max(predicted or [0.0])))
        axes.yaxis.set_major_formatter(FuncFormatter(_plain_number))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xticks(sorted({1, number, longest} | ({4, 8, 12} & set(range(longest - 1)))))
        axes.set_xticks([], minor=True)
        axes.tick_params(length=3, pad=3)
        axes.set_xlabel("direction of the features, by variance", labelpad=3)
        return to_svg(figure, "scree", alt)


def gram_against(
    gram: Sequence[Sequence[float]] | Array,
    wanted: Sequence[Sequence[float]] | Array,
    alt: str,
    *,
    title: str,
    names: Sequence[str] = (),
) -> str:
    """WWᵀ | what it should be | the difference, each over the largest entry. wanted is compared as
    it is: bring it to the scale of WWᵀ first where theory knows the shape only."""
    measured, ideal = np.array(gram, dtype=np.float64), np.array(wanted, dtype=np.float64)
    gap = measured - ideal
    scale = max(float(np.abs(measured).max()), float(np.abs(ideal).max()), 1e-300)
    length = float(np.linalg.norm(ideal))
    with style("head-gram"):
        figure = canvas(WIDTH, HEIGHT)
        right, top = WIDTH - SIDE - 12, HEIGHT - SIDE - 18
        panels = (
            (58.0, top, "WWᵀ", measured, scale),
            (right, top, title, ideal, scale),
            (58.0, 18.0, "difference", gap, max(float(np.abs(gap).max()), 1e-9 * scale)),
        )
        shown = [plain(name, 6) for name in names] if 0 < len(names) <= 12 else []
        for left, bottom, said, values, size in panels:
            axes = place(figure, left, bottom, SIDE, SIDE)
            heat(axes, values, size)
            axes.set_title(said, loc="left", fontsize=NORMAL, pad=4, color=INK)
            axes.set_title(f"±{size:.2g}", loc="right", fontsize=SMALL, pad=4, color=FAINT)
            if shown and left < right:
                axes.set_yticks(range(len(shown)), shown, fontsize=SMALL)
        side = place(figure, right, 18, SIDE, SIDE)
        side.set_axis_off()
        share = float(np.linalg.norm(gap)) / length if length > 0 else float("nan")
        side.text(0, 0.92, "difference of norm", color=FAINT, fontsize=SMALL, va="top")
        side.text(0, 0.72, f"{100 * share:.2g} %", color=INK, fontsize=20, va="top")
        side.text(0, 0.40, "of what it should be", color=FAINT, fontsize=SMALL, va="top")
        return to_svg(figure, "head-gram", alt)


def errors_plot(
    rows: Sequence[tuple[str, Sequence[float]]],
    variances: Sequence[float],
    alt: str,
    *,
    names: Sequence[str] = (),
    predicted: Sequence[float] | None = None,
) -> str | None:
    """Mean squared error of every target on a log axis, a dot a split, beside its variance (a tick)
    and what theory says (a bar). None where no error is known."""
    known = [(name, list(values)) for name, values in rows[:2] if len(values)]
    if not known:
        return None
    number = len(known[0][1])
    kept = min(number, NAMED)
    with style("errors"):
        figure = canvas(WIDTH, HEIGHT)
        axes = place(figure, 84, 40, WIDTH - 84 - 16, HEIGHT - 40 - 24)
        axes.set_xscale("log")
        axes.set_ylim(kept - 0.4, -0.6)
        everything = [v for _, values in known for v in values[:kept]] + list(variances[:kept])
        positive = [value for value in everything + list(predicted or []) if value > 0]
        axes.set_xlim(min(positive) / 3, max(positive) * 3)
        for y in range(kept):
            axes.plot(axes.get_xlim(), [y, y], color=LINE, linewidth=0.7, zorder=1)
            axes.plot([variances[y]] * 2, [y - 0.16, y + 0.16], color=FAINT, linewidth=1.6)
            if predicted is not None and predicted[y] > 0:
                axes.plot([predicted[y]] * 2, [y - 0.3, y + 0.3], color=MARK, linewidth=2.4)
            for which, (_, values) in enumerate(known):
                axes.plot(
                    [max(values[y], axes.get_xlim()[0])], [y + 0.12 * which], "o", markersize=7,
                    color=(TRAIN, TEST)[which], zorder=4,
                    markerfacecolor="none" if which else (TRAIN, TEST)[which],
                )  # fmt: skip
        shown = [names[y] if y < len(names) else f"target {y}" for y in range(kept)]
        axes.set_yticks(range(kept), [plain(name, 12) for name in shown])
        key = [
            ("●○"[i] + f" {plain(name, 8)}", (TRAIN, TEST)[i]) for i, (name, _) in enumerate(known)
        ]
        key += [("┃ variance", FAINT)] + ([("┃ theory", MARK)] if predicted is not None else [])
        for place_x, (said, colour) in zip((0.0, 0.28, 0.55, 0.82), key, strict=False):
            axes.text(place_x, 1.03, said, transform=axes.transAxes, color=colour, fontsize=SMALL)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
        axes.xaxis.set_minor_formatter(NullFormatter())
        more = f"; the first {kept} of {number}" if number > kept else ""
        axes.set_xlabel(f"mean squared error{more}", labelpad=4)
        return to_svg(figure, "errors", alt)


def _plain_number(value: float, _: object) -> str:
    """A tick of a log axis without markup."""
    return f"{value:g}"


def matched(wanted: Any, gram: Any) -> Array:
    """A matrix of which the shape alone is known, with the norm of `gram`."""
    shape, size = np.array(wanted, dtype=np.float64), float(np.linalg.norm(np.array(gram)))
    length = float(np.linalg.norm(shape))
    return shape * (size / length) if length > 0 else shape
