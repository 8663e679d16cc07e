"""Figures of the information study."""

from __future__ import annotations

from ncollapse.downstream.plane import LOWER, NHSIC_INPUT, NHSIC_LABEL, REDUNDANT, UPPER
from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, curves

draw = Drawing()
ARMS = (("decay", "with decay"), ("none", "without"))


@draw.figure("training", x="nHSIC with the input", y="nHSIC with the class")
def plane(area: Axes, ink: Ink, training: Runs) -> None:
    """The information plane of held-out features along training, a line a seed; dots: the end."""
    for run in training:
        for (name, label), colour in zip(ARMS, ink.all, strict=False):
            x, y = run[name][NHSIC_INPUT], run[name][NHSIC_LABEL]
            area.plot(x, y, color=colour, label=label)
            area.plot(x[-1:], y[-1:], "o", color=colour)


@draw.figure("training", x="step", y="nats", log="x")
def bounds(area: Axes, ink: Ink, training: Runs) -> None:
    """Bounds on I(Z;X) and on I(Z;X|Y) of held-out features along training with decay, one
    seed."""
    row = training[0]["decay"]
    named = {"I(Z;X) at least": LOWER, "at most": UPPER, "I(Z;X|Y) at most": REDUNDANT}
    steps = row["steps"][1:]
    curves(area, ink, {label: (steps, row[key][1:]) for label, key in named.items()})
