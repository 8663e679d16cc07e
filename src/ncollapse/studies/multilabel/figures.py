"""Figures of the multilabel study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


@draw.figure("equal", "few", x="predicted C_2", y="measured C_2")
def scale(area: Axes, ink: Ink, equal: Runs, few: Runs) -> None:
    """The scale of two labels in networks on overlaid digits, against theory."""
    for runs, colour, said in ((equal, ink.first, "equal"), (few, ink.second, "few of one")):
        x, y = [run["predicted"] for run in runs], [run["scale"] for run in runs]
        area.plot(x, y, "o", color=colour, label=said)
    ends = [min(run["predicted"] for run in (*equal, *few)) - 0.05, 1.0]
    area.plot(ends, ends, color=ink.line)
