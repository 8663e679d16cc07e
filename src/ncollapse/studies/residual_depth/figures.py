"""Figures of the residual-depth study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


@draw.figure("one", x="blocks L", y="gap to free features", log="xy")
def residual(area: Axes, ink: Ink, one: Runs) -> None:
    """Residual networks with one linear layer a block: gap and its part from blocks."""
    for run in one:
        _line(area, run["rn1"], "gap", ink.first, "gap")
        _line(area, run["rn1"], "blocks", ink.faint, "decay of blocks")


@draw.figure("two", x="blocks L", y="NC1", log="xy")
def decays(area: Axes, ink: Ink, two: Runs) -> None:
    """Residual networks with two linear layers a block: NC1 under four decays."""
    for run in two:
        for (name, rows), colour in zip(run["rn2"].items(), ink.all, strict=True):
            _line(area, rows, "nc1", colour, name)


@draw.figure("tokens", x="blocks L", y="NC1", log="xy")
def transformers(area: Axes, ink: Ink, tokens: Runs) -> None:
    """Transformers: NC1 with one linear layer, and with two under constant and falling decay."""
    for run in tokens:
        _line(area, run["tx1"], "nc1", ink.first, "one layer, λ")
        _line(area, run["tx2"]["λ"], "nc1", ink.second, "two layers, λ")
        _line(area, run["tx2"]["λ/L"], "nc1", ink.third, "two layers, λ/L")


def _line(area: Axes, rows: Sequence[Mapping[str, Any]], key: str, colour: str, label: str) -> None:
    depths, values = [row["depth"] for row in rows], [row[key] for row in rows]
    area.plot(depths, values, "o-", color=colour, label=label, markersize=4)
