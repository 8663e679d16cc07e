"""Figures of the landscape study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, columns, curves, grouped

draw = Drawing()


@draw.figure("census", x="curvature by the formula, √(λ_W λ_H)", y="by the Hessian")
def saddles(area: Axes, ink: Ink, found: Runs) -> None:
    """Curvature at every saddle of the census: the formula against the Hessian."""
    rows = [row for run in found for row in run["rows"] if row["curvature"] is not None]
    for (loss, mine), colour in zip(grouped(rows, "loss").items(), ink.all, strict=False):
        known, measured = columns(mine, "formula", "curvature")
        area.plot(known, measured, "o", color=colour, markersize=3, label=loss)
    area.axline((-1, -1), slope=1, color=ink.line)


@draw.figure("census", x="rank of W", y="objective")
def points(area: Axes, ink: Ink, found: Runs) -> None:
    """Critical points of the census by rank of W: global optima, and saddles above them."""
    rows = [row for run in found for row in run["rows"]]
    for (kind, mine), colour in zip(grouped(rows, "kind").items(), ink.all, strict=False):
        area.plot(*columns(mine, "rank", "objective"), "o", color=colour, markersize=3, label=kind)


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
