"""Figures of the imbalance study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


@draw.figure("lengths", x="class count n", y="squared length of the classifier")
def lengths(area: Axes, ink: Ink, found: Runs) -> None:
    """Squared classifier lengths follow (√π - τ)₊, not class frequency."""
    data = found[0]
    area.plot(data["counts"], data["wanted"], color=ink.faint, label="closed form")
    area.plot(data["counts"], data["found"], "o", color=ink.first, label="descent")
    area.plot(data["counts"], data["proportional"], "--", color=ink.second, label="∝ frequency")


@draw.figure("longtail", x="predicted cosine", y="measured cosine")
def cosines(area: Axes, ink: Ink, runs: Runs) -> None:
    """Classifier cosines of networks on long-tailed digits against the prediction."""
    area.plot([-0.35, 0.25], [-0.35, 0.25], color=ink.line)
    for run in runs:
        area.plot(run["predicted"], run["measured"], ".", color=ink.first, label="pairs of classes")
    area.plot([-1 / 9], [-1 / 9], "s", color=ink.second, label="simplex")
    every = [value for run in runs for value in run["measured"] + run["predicted"]]
    area.set_xlim(min(every) - 0.02, max(every) + 0.02)
    area.set_ylim(min(every) - 0.02, max(every) + 0.02)
