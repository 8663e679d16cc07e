"""Figures of the optimisers study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Row, Runs, columns, grouped

draw = Drawing()


def _marks(area: Axes, ink: Ink, rows: list[Row], x: str, y: str) -> None:
    """A mark and a colour an optimizer."""
    looks = zip("os^vD", (*ink.all, ink.text), strict=True)
    for (name, mine), (mark, colour) in zip(
        grouped(rows, "optimiser").items(), looks, strict=False
    ):
        area.plot(*columns(mine, x, y), mark, color=colour, label=name, markersize=5)


@draw.figure("mlp", x="cross-entropy at the end", y="nc1_fisher", log="xy")
def depth(area: Axes, ink: Ink, mlp: Runs) -> None:
    """NC1 against training loss at the end, three decays and every seed."""
    _marks(area, ink, [row for run in mlp for row in run["rows"]], "loss", "nc1")


@draw.figure("mlp", x="NC3² of the centred head", y="NC3² of the head", log="xy")
def duality(area: Axes, ink: Ink, mlp: Runs) -> None:
    """NC3² with and without the direction that softmax cannot see; on the line it plays no part."""
    rows = [row for run in mlp for row in run["rows"]]
    _marks(area, ink, rows, "nc3c", "nc3")
    ends = [min(row["nc3c"] for row in rows), max(row["nc3"] for row in rows)]
    area.plot(ends, ends, color=ink.line)
