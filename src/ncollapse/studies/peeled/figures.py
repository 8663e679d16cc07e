"""Figures of the peeled study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, columns, curves, grouped

draw = Drawing()


@draw.figure("flow", "narrow", x="t", y="share of the maximal normalised margin", log="x")
def margin(area: Axes, ink: Ink, flow: Runs, narrow: Runs) -> None:
    """Gradient flow without decay: above width K every start nears the largest margin, at width
    K some stall."""
    for runs, colour, said in ((narrow, ink.second, "width K"), (flow, ink.first, "above")):
        for path in (path for run in runs for path in run["paths"]):
            area.plot(runs[0]["t"], path, color=colour, linewidth=0.8, label=said)
    area.axhline(1, color=ink.line)
    area.set_ylim(0, 1.03)


@draw.figure("threshold", x="imbalance over R*", y="spread of minority classifiers")
def threshold(area: Axes, ink: Ink, found: Runs) -> None:
    """Constrained norms: minority classifiers merge at the computed imbalance."""
    series = {
        f"{large} large, {small} small, R* = {rows[0]['ratio']:.1f}": columns(
            rows, "factor", "spread"
        )
        for (large, small, *_), rows in grouped(found[0]["rows"], "setting").items()
    }
    curves(area, ink, series, "o-", markersize=4)
    area.axvline(1, color=ink.mark, label="computed R*")
