"""Figures of the architecture study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


@draw.figure("networks", x="width", y="certified relative gap, NC1", log="xy")
def width(area: Axes, ink: Ink, networks: Runs) -> None:
    """MLPs with BatchNorm: gap to free features and NC1 by width, one line a seed."""
    for run in networks:
        widths = [row["width"] for row in run["widths"]]
        for key, label, colour in (("gap", "gap", ink.first), ("nc1", "NC1", ink.second)):
            values = [row[key] for row in run["widths"]]
            area.plot(widths, values, "o-", color=colour, label=label, markersize=4)


@draw.figure("networks", x="NC1", y="certified relative gap", log="xy")
def kinds(area: Axes, ink: Ink, networks: Runs) -> None:
    """Networks at one recipe: certified gap against NC1, those without BatchNorm or activations
    named."""
    for run in networks:
        for row in run["kinds"]:
            named = row["name"] in ("ReLU, none", "linear, BatchNorm", "transformer")
            colour = ink.second if named else ink.first
            area.plot([row["nc1"]], [row["gap"]], "o", color=colour, markersize=4)
            if named and run is networks[0]:
                area.annotate(row["name"], (row["nc1"], row["gap"]), color=ink.text, fontsize=9)
