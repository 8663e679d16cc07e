"""Figures of the ordinal study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


@draw.figure("ink", x="midpoint of the interval", y="mean latent position")
def ink(area: Axes, ink: Ink, runs: Runs) -> None:
    """Grades of ink: latent positions of networks against the midpoints of their intervals."""
    for run in runs:
        area.plot(run["limits"], run["z"], "o", color=ink.first, label="network")
    area.plot(runs[0]["thresholds"], runs[0]["thresholds"], color=ink.line)


@draw.figure("solver", x="how much rarer the grade is", y="width of its interval", log="xy")
def width(area: Axes, ink: Ink, solver: Runs) -> None:
    """Learned thresholds narrow a rare grade like 1/R; fixed ones do not."""
    data = solver[0]
    area.plot(data["ratios"], data["widths"], "o-", color=ink.first, label="learned")
    area.plot(data["ratios"], data["fixed"], "o-", color=ink.second, label="fixed")
