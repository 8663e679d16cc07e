"""Figures of the frequency study."""

from __future__ import annotations

import numpy as np

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()
POWER = 0.25


@draw.figure("lengths", x="class count n", y="length over the geometric mean", log="xy")
def lengths(area: Axes, ink: Ink, runs: Runs) -> None:
    """Lengths by class count, mean squared error: means fall, classifiers grow; lines are the
    powers ∓¼ of weak decay."""
    counts = np.array(runs[0]["counts"], dtype=float)
    middle = np.exp(np.log(counts).mean())
    for name, colour, sign in (("means", ink.first, -1), ("weights", ink.second, 1)):
        for run in runs:
            values = np.array(run["rows"]["mse"][name])
            values = values / np.exp(np.log(values).mean())
            area.plot(counts, values, "o", color=colour, markersize=3, label=name)
        area.plot(counts, (counts / middle) ** (sign * POWER), color=ink.faint)
