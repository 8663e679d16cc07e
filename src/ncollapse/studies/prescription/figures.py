"""Figures of the prescription study."""

from __future__ import annotations

import numpy as np

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()
NAMES = {
    "plain": "cross-entropy",
    "prescribed": "prescribed weights",
    "effective": "effective numbers",
    "adjusted": "logit adjustment",
    "frame": "fixed simplex",
}


@draw.figure("network", x="mean cosine of minority classifiers", y="recall of minority classes")
def remedies(area: Axes, ink: Ink, runs: Runs) -> None:
    """What a remedy does to the classifiers of the minority, and to its recall: every seed, and the
    mean of each remedy."""
    for (arm, name), colour, mark in zip(NAMES.items(), ink.all, "osD^v", strict=False):
        rows = [run["rows"][arm] for run in runs]
        x, y = [row["cosines"][2] for row in rows], [row["minority"] for row in rows]
        area.plot(x, y, ".", color=colour, markersize=4)
        area.plot([np.mean(x)], [np.mean(y)], mark, color=colour, markersize=8, label=name)
    area.axvline(np.mean([run["predicted"][2] for run in runs]), color=ink.faint, linestyle="--")
