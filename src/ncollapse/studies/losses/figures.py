"""Figures of the losses study."""

from __future__ import annotations

import numpy as np

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, curves

draw = Drawing()


@draw.figure("frames", x="decay of the bias λ_b", y="cosine of raw means", log="x")
def path(area: Axes, ink: Ink, frames: Runs) -> None:
    """Mean squared error: from the simplex (small λ_b) to the orthogonal frame."""
    decays, wanted, found, _ = zip(*frames[0]["path"], strict=True)
    area.plot(decays, wanted, color=ink.faint, label="closed form")
    area.plot(decays, found, "o", color=ink.first, label="descent")


@draw.figure("rates", x="step", y="NC1", log="y")
def decay(area: Axes, ink: Ink, rates: Runs) -> None:
    """Free features with decay: NC1 falls by e^(-2ηλ) a step."""
    data = rates[0]
    steps = np.array(data["steps"])
    area.plot(steps, data["nc1"], "o", color=ink.first, markersize=3, label="descent")
    line = np.exp(data["predicted"] * (steps - steps[-1])) * data["nc1"][-1]
    area.plot(steps, line, color=ink.faint, label="slope -2ηλ")


@draw.figure("slopes", x="step", y="NC1", log="xy")
def network(area: Axes, ink: Ink, slopes: Runs) -> None:
    """NC1 of a network at a constant learning rate, with and without decay."""
    names = {"decay": "network with decay", "none": "network without"}
    series = {said: (slopes[0][key]["steps"], slopes[0][key]["nc1"]) for key, said in names.items()}
    curves(area, ink, series)


@draw.figure("networks", x="loss", y="test accuracy, %")
def accuracy(area: Axes, ink: Ink, networks: Runs) -> None:
    """Test accuracy of four losses on a wide and a narrow network, one dot a seed."""
    losses = list(next(iter(networks[0]["accuracy"].values())))
    for name, colour in zip(networks[0]["accuracy"], ink.all, strict=False):
        for run in networks:
            values = [run["accuracy"][name][loss] for loss in losses]
            area.plot(range(len(losses)), values, "o", color=colour, label=name)
    area.set_xticks(range(len(losses)), losses)
