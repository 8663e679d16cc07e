"""Figures of the imbalanced-head study."""

from __future__ import annotations

import numpy as np

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, curves

draw = Drawing()
NAMES = {
    "learned": "learned, cross-entropy",
    "adjusted": "learned, logit adjustment",
    "fixed_ce": "fixed, cross-entropy",
    "fixed": "fixed, dot regression",
}


@draw.figure("tail", x="training samples of the class", y="recall on the test split", log="x")
def recall(area: Axes, ink: Ink, runs: Runs) -> None:
    """Recall by class size for learned and fixed heads."""
    means = {
        name: np.mean([run["rows"][arm]["recall"] for run in runs], axis=0)
        for arm, name in NAMES.items()
    }
    curves(area, ink, {name: (runs[0]["counts"], mean) for name, mean in means.items()}, "o-")


@draw.figure("tail", x="cosine predicted for the learned head", y="measured cosine")
def cosines(area: Axes, ink: Ink, runs: Runs) -> None:
    """Cosines among the five rarest classes: learned classifiers follow the prediction, means at a
    fixed frame stay at the simplex."""
    every = [value for run in runs for value in run["predicted"] + run["measured"]]
    ends = [min(every) - 0.02, max(every) + 0.02]
    area.plot(ends, ends, color=ink.line)
    area.axhline(-1 / 9, color=ink.faint, linestyle="--", label="simplex")
    for run in runs:
        predicted, means = run["predicted"], run["rows"]["fixed"]["mean_cosines"]
        area.plot(predicted, run["measured"], ".", color=ink.first, label="learned classifiers")
        area.plot(predicted, means, ".", color=ink.second, label="means at the fixed frame")
