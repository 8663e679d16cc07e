"""Figures of the deep-ufm study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, curves

draw = Drawing()


@draw.figure("table", x="classes K", y="loss, low rank over collapse", log="x")
def crossover(area: Axes, ink: Ink, table: Runs) -> None:
    """Loss of the low-rank construction over that of deep collapse, by classes and matrices."""
    rows = table[0]["rows"]
    series = {}
    for depth in sorted({row[0] for row in rows}):
        some = [row for row in rows if row[0] == depth]
        series[f"{depth} matrices"] = ([row[1] for row in some], [row[3] for row in some])
    curves(area, ink, series, "o-", markersize=4)
    area.axhline(1, color=ink.line)


@draw.figure("lengths", x="own logit by the formula", y="own logit after descent")
def lengths(area: Axes, ink: Ink, runs: Runs) -> None:
    """Own logits of deep linear features under unequal counts, one dot a class and depth."""
    for row, colour in zip(runs[0]["rows"], ink.all, strict=False):
        label = f"{row['depth']} matrices"
        area.plot(row["predicted"], row["measured"], "o", color=colour, label=label)
    area.plot([0, 1], [0, 1], color=ink.line)
