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
    names = {"decay": "decay", "none": "no decay", "untrained": "untrained"}
    for run in one:
        for (key, said), colour in zip(names.items(), ink.all, strict=False):
            values = run[key]["path"]["residuals"]
            area.plot(range(len(values)), values, "o-", color=colour, label=said, markersize=4)


@draw.figure("two", x="layer", y="over the first layer")
def straight(area: Axes, ink: Ink, two: Runs) -> None:
    """Two linear layers a block: a straight path on which PFC1 hardly falls and PFC2 rises."""
    for path in (run["two"]["path"] for run in two):
        for key, colour in (("pfc1", ink.first), ("pfc2", ink.second)):
            values = [value / path["measured"][key][0] for value in path["measured"][key]]
            area.plot(range(len(values)), values, "o-", color=colour, label=key, markersize=4)


@draw.figure("plain", x="hidden layer", y="PFC1", log="y")
def separation(area: Axes, ink: Ink, plain: Runs) -> None:
    """A plain MLP: separation does not grow by one factor a layer."""
    for run in plain:
        values = run["plain"]["path"]["measured"]["pfc1"]
        area.plot(range(1, len(values) + 1), values, "o-", color=ink.first, markersize=4)
