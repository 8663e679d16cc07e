"""Figures of the ordinal study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


def _line(area: Axes, ink: Ink, runs: Runs) -> None:
    for run in runs:
        area.plot(run["limits"], run["z"], "o", color=ink.first, label="network")
    ends = runs[0]["thresholds"]
    area.plot(ends, ends, color=ink.line)
    for end in ends:
        area.axvline(end, color=ink.faint, linewidth=0.8)


@draw.figure("diabetes", x="midpoint of the interval", y="mean latent position")
def diabetes(area: Axes, ink: Ink, runs: Runs) -> None:
    """Grades of diabetes: latent positions against midpoints, thresholds as lines."""
    _line(area, ink, runs)


@draw.figure("ink", x="midpoint of the interval", y="mean latent position")
def digits(area: Axes, ink: Ink, runs: Runs) -> None:
    """Grades of ink: latent positions against midpoints, thresholds as lines."""
    _line(area, ink, runs)


@draw.figure("solver", x="how much rarer the grade is", y="width of its interval", log="xy")
def width(area: Axes, ink: Ink, solver: Runs) -> None:
    """Learned thresholds narrow a rare grade like 1/R; fixed ones do not."""
    data = solver[0]
    area.plot(data["ratios"], data["widths"], "o-", color=ink.first, label="learned")
    area.plot(data["ratios"], data["fixed"], "o-", color=ink.second, label="fixed")
    if data["merging"] is not None:
        area.axvline(data["merging"], color=ink.mark, label="named nowhere from here")
