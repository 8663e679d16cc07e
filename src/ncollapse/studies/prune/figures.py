"""Figures of the prune study."""

from __future__ import annotations

import numpy as np

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

NAMES = ("mlp", "cnn", "resnet", "transformer")
draw = Drawing()


@draw.figure(*NAMES, x="share of blocks kept", y="test accuracy lost, points")
def cost(area: Axes, ink: Ink, *parts: Runs) -> None:
    """What cutting after each block costs by architecture, mean over seeds; rings: where the
    reading says, a seed each."""
    for name, runs, colour in zip(NAMES, parts, ink.all, strict=True):
        lost = np.array([run["whole"] - np.array(run["accuracy"]) for run in runs])
        if not lost.size:  # None of its runs is finished.
            continue
        share = np.arange(lost.shape[1]) / (lost.shape[1] - 1)
        area.plot(share[1:], lost.mean(0)[1:], color=colour, label=name)
        for run, row in zip(runs, lost, strict=True):
            area.plot(share[run["kept"]], row[run["kept"]], "o", color=colour, mfc="none")
    area.axhline(1, color=ink.line, label="one point")
    area.set_yscale("symlog", linthresh=1)


@draw.figure(*NAMES, x="share of blocks kept", y="nc4_mismatch on training samples")
def finished(area: Axes, ink: Ink, *parts: Runs) -> None:
    """Where nearest centres of a block begin to decide as the network does, a line a seed."""
    for name, runs, colour in zip(NAMES, parts, ink.all, strict=True):
        for run in runs:
            share = np.arange(1, len(run["mismatch"]) + 1) / len(run["mismatch"])
            area.plot(share, run["mismatch"], color=colour, linewidth=1, label=name)
    area.axhline(0.01, color=ink.line, label="1 %")
    area.set_yscale("symlog", linthresh=0.01)
