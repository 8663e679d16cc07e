"""Figures of the shallow study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


@draw.figure("phase", x="norm of class means (noise 1)", y="share of feasible draws")
def feasible(area: Axes, ink: Ink, phase: Runs) -> None:
    """Share of draws on which a two-layer network can collapse exactly, by dimension and signal."""
    data = phase[0]
    places = range(len(data["signals"]))
    for number, (dim, row) in enumerate(zip(data["dims"], data["shares"], strict=True)):
        colour = ink.all[number % len(ink.all)]
        style = "o-" if number < len(ink.all) else "s--"
        area.plot(places, row, style, color=colour, markersize=4, label=f"d = {dim}")
    area.set_xticks(list(places), [str(signal) for signal in data["signals"]])


@draw.figure("networks", x="excess risk over the bound", y="nc1_ratio", log="xy")
def trained(area: Axes, ink: Ink, networks: Runs) -> None:
    """Trained networks: how far above the bound of exact collapse, and how collapsed."""
    for run in networks:
        for row in run["rows"]:
            known = "can collapse" if row["feasible"] else "cannot collapse"
            colour = ink.first if row["feasible"] else ink.second
            area.plot(max(row["excess"], 1e-12), row["nc1"], "o", color=colour, label=known)
