"""Figures of the over-collapse study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, columns, curves

draw = Drawing()
NAMES = {"none": "cross-entropy", "koleo": "with KoLeo", "coding": "with coding rate"}
UNSEEN = "5-shot accuracy, unseen"


@draw.figure("split", x="nc1_fisher of the seen classes", y=UNSEEN, log="x")
def transfer(area: Axes, ink: Ink, runs: Runs) -> None:
    """5-shot accuracy on unseen digits against collapse of the seen ones, by training loss:
    nc1_fisher."""
    _scatter(area, ink, runs, "nc1")


@draw.figure("split", x="nc1_ratio of the seen classes", y=UNSEEN, log="x")
def transfer_ratio(area: Axes, ink: Ink, runs: Runs) -> None:
    """5-shot accuracy on unseen digits against collapse of the seen ones, by training loss:
    nc1_ratio."""
    _scatter(area, ink, runs, "nc1_ratio")


def _scatter(area: Axes, ink: Ink, runs: Runs, key: str) -> None:
    series = {
        label: columns([run["rows"][arm] for run in runs], key, "unseen")
        for arm, label in NAMES.items()
    }
    curves(area, ink, series, "o")
    (pixels,) = columns(runs, "unseen_pixels")
    area.axhline(sum(pixels) / len(pixels), color=ink.faint, linestyle="--", label="on pixels")
