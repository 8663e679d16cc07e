"""Figures of the incremental study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, columns, curves

draw = Drawing()
NAMES = {
    "frame": "frame",
    "frame-poc": "frame, POC",
    "cosine": "learned head",
    "cosine-poc": "learned head, POC",
}


@draw.figure("heads", x="accuracy on the first classes alone", y="final accuracy")
def final(area: Axes, ink: Ink, runs: Runs) -> None:
    """Final accuracy on ten digits against that on the first six, by head, with and without POC."""
    rows = {name: [run["rows"][arm] for run in runs] for arm, name in NAMES.items()}
    curves(area, ink, {name: columns(some, "base", "final") for name, some in rows.items()}, "o")


@draw.figure("severity", x="CDNV of old against new classes", y="fall of old accuracy", log="x")
def overlap(area: Axes, ink: Ink, runs: Runs) -> None:
    """What is forgotten of old classes against how much new ones overlap with them, a line a
    seed, from hardly to well collapsed base models."""
    curves(area, ink, {f"seed {r['seed']}": columns(r["rows"], "cdnv", "forgot") for r in runs})


@draw.figure("severity", x="energy of old features in the span", y="fall of old accuracy")
def energy(area: Axes, ink: Ink, runs: Runs) -> None:
    """What is forgotten of old classes against the energy of their features in the active
    subspace; a point a base model."""
    for run, colour in zip(runs, ink.all * len(runs), strict=False):
        area.plot(*columns(run["rows"], "energy", "forgot"), "o", color=colour)
