"""Figures of the frames study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()
MARKS = {"means": "o", "weights": "s", "duality": "^"}


@draw.figure("networks", y="distance from the simplex", log="y")
def frames(area: Axes, ink: Ink, runs: Runs) -> None:
    """Distance of networks from the simplex by loss: centred means, centred classifiers, and both
    from each other, one mark a seed."""
    names = list(runs[0]["rows"])
    for (part, mark), colour in zip(MARKS.items(), ink.all, strict=False):
        for run in runs:
            values = [run["rows"][name]["frame"][part] for name in names]
            area.plot(range(len(names)), values, mark, color=colour, markersize=4, label=part)
    area.axhline(0.1, color=ink.faint, linewidth=1)
    area.set_xticks(range(len(names)), names)


@draw.figure("networks", y="mean cosine of raw class means")
def cosines(area: Axes, ink: Ink, runs: Runs) -> None:
    """Mean cosine of raw class means: 0 in the orthogonal frame, -1/9 in the simplex (lines)."""
    names = list(runs[0]["rows"])
    for run in runs:
        values = [run["rows"][name]["cosines"][0] for name in names]
        area.plot(range(len(names)), values, "o", color=ink.first)
    for value in (0.0, -1 / 9):
        area.axhline(value, color=ink.faint, linewidth=1)
    area.set_xticks(range(len(names)), names)
