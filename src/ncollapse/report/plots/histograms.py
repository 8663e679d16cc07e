"""Histograms of outlier scores: known samples against foreign ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ncollapse.report.plots.ink import (
    INK,
    NORMAL,
    SMALL,
    TEST,
    TRAIN,
    canvas,
    place,
    plain,
    style,
    to_svg,
)

WIDTH, HEIGHT, GAP, LEFT, BOTTOM, TOP = 1100.0, 210.0, 34.0, 16.0, 42.0, 34.0


def histograms(
    scores: Sequence[Mapping[str, Any]], foreign: str, known: str, alt: str, name: str
) -> str | None:
    """One panel a score, shares of samples by score; None without scores."""
    if not scores:
        return None
    with style(name):
        figure = canvas(WIDTH, HEIGHT)
        wide = (WIDTH - 2 * LEFT - GAP * (len(scores) - 1)) / len(scores)
        for number, score in enumerate(scores):
            axes = place(figure, LEFT + number * (wide + GAP), BOTTOM, wide, HEIGHT - BOTTOM - TOP)
            edges = score["histogram"]["edges"]
            for key, colour in (("in", TRAIN), ("out", TEST)):
                axes.stairs(
                    score["histogram"][key], edges, fill=True, color=colour, alpha=0.35, linewidth=0
                )
                axes.stairs(score["histogram"][key], edges, color=colour, linewidth=1.4)
            axes.set_title(
                f"{score['title']}  {score['AUROC']:.3f}", loc="left", color=INK, fontsize=NORMAL
            )
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=4)
            axes.tick_params(length=3)
            if number == 0:
                axes.set_xlabel("outlier score", labelpad=3)
                for label, colour, height in (
                    (plain(known), TRAIN, 0.93),
                    (plain(foreign), TEST, 0.8),
                ):
                    axes.text(
                        0.99, height, label, transform=axes.transAxes, color=colour,
                        fontsize=SMALL, ha="right", va="top",
                    )  # fmt: skip
        return to_svg(figure, name, alt)
