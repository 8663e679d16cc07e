"""Figures of the landscape study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, curves, grouped

draw = Drawing()


@draw.figure("saddles", x="rank r", y="curvature along the direction, √(λ_W λ_H)")
def saddles(area: Axes, ink: Ink, found: Runs) -> None:
    """Curvature at the saddle of every rank: dots measured, lines the formula."""
    rows = found[0]["rows"]
    for (loss, mine), colour in zip(grouped(rows, "loss").items(), ink.all, strict=False):
        ranks = [row["rank"] for row in mine]
        area.plot(ranks, [row["formula"] / row["threshold"] for row in mine], color=ink.faint)
        measured = [row["curvature"] / row["threshold"] for row in mine]
        area.plot(ranks, measured, "o", color=colour, label=loss)
    area.set_xticks(sorted({row["rank"] for row in rows}))


@draw.figure("focal", x="p_y - p₀(γ)", y="relative gap", log="y")
def focal(area: Axes, ink: Ink, found: Runs) -> None:
    """Focal loss: the gap closes where p_y reaches p₀."""
    series = {}
    for gamma, rows in grouped(found[0]["rows"], "gamma").items():
        mine = [row for row in rows if row["gap"] is not None]
        x = [row["p"] - row["limit"] for row in mine]
        series[f"γ = {gamma:g}"] = (x, [max(row["gap"], 1e-17) for row in mine])
    curves(area, ink, series, "o")
    area.axvline(0, color=ink.line)
