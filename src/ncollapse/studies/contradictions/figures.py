"""Figures of the contradictions study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, columns

draw = Drawing()


@draw.figure("depth", x="matrices", y="participation of means, dimensions")
def codes(area: Axes, ink: Ink, depth: Runs) -> None:
    """Dimensions that class means spread over, by depth and width, every start."""
    rows = [row for run in depth for row in run["rows"]]
    widths = sorted({row["width"] for row in rows})
    for shift, (width, colour) in enumerate(zip(widths, ink.all, strict=False)):
        matrices, dims = columns(
            [r for r in rows if r["width"] == width], "matrices", "participation"
        )
        places = [M + (shift - 1) / 8 for M in matrices]
        area.plot(places, dims, "o", color=colour, label=f"width {width}", markersize=4)


@draw.figure("norm", x="feature norm", y="nc1_ratio", log="y")
def norms(area: Axes, ink: Ink, norm: Runs) -> None:
    """NC1 against feature norm along training, one seed, a line a setting; dots: onset."""
    for run in norm[0]["runs"]:
        top = max(range(len(run["looks"])), key=lambda i: run["looks"][i]["norm"])
        area.plot(*columns(run["looks"][top:], "norm", "ratio"), color=ink.faint, linewidth=1)
    found = [run["onset"] for run in norm[0]["runs"] if run["onset"]]
    area.plot(*columns(found, "norm", "ratio"), "o", color=ink.first, label="onset of collapse")
