"""Figures of the feedforward study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


@draw.figure("one", x="place on the geodesic t", y="PFC1", log="y")
def geodesic(area: Axes, ink: Ink, one: Runs) -> None:
    """PFC1 of the layers of a residual network, measured and predicted from its two ends."""
    for path in (run["decay"]["path"] for run in one):
        area.plot(path["times"], path["predicted"]["pfc1"], color=ink.faint, label="geodesic")
        area.plot(path["times"], path["measured"]["pfc1"], "o", color=ink.first, label="measured")


@draw.figure("one", x="layer", y="distance from the geodesic")
def residuals(area: Axes, ink: Ink, one: Runs) -> None:
    """Squared distance of layers from the geodesic between first and last, over its length."""
    for run in one:
        for name, colour in zip(("decay", "none", "untrained"), ink.all, strict=False):
            values = run[name]["path"]["residuals"]
            area.plot(range(len(values)), values, "o-", color=colour, label=name, markersize=4)


@draw.figure("two", x="layer", y="over the first layer")
def straight(area: Axes, ink: Ink, two: Runs) -> None:
    """Two linear layers a block: a straight path on which PFC1 hardly falls and PFC2 rises."""
    for path in (run["two"]["path"] for run in two):
        for key, colour in (("pfc1", ink.first), ("pfc2", ink.second)):
            values = [value / path["measured"][key][0] for value in path["measured"][key]]
            area.plot(range(len(values)), values, "o-", color=colour, label=key, markersize=4)
