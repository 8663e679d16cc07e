"""Figures of the minority study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, curves

draw = Drawing()


@draw.figure(
    "grid", x="N² λ_W λ_H over n of the minority", y="spread of minority classifiers", log="x"
)
def transition(area: Axes, ink: Ink, grid: Runs) -> None:
    """Minority classifiers merge where N² λ_W λ_H reaches their count, at every ratio."""
    data = grid[0]
    rows = zip(data["ratios"], data["spread"], strict=True)
    series = {f"ratio {ratio}": (data["levels"], row) for ratio, row in rows}
    curves(area, ink, series, "o-", markersize=4)
    area.axvline(1, color=ink.mark, label="predicted threshold")


@draw.figure("network", x="predicted cosine of classifiers", y="measured cosine")
def network(area: Axes, ink: Ink, runs: Runs) -> None:
    """Classifier cosines of digits networks before and past the transition."""
    for row in (row for run in runs for row in [run["before"], *run["past"]]):
        known, found = row["predicted"], row["measured"]
        label = "within the majority, across"
        area.plot(known[:2], found[:2], ".", color=ink.second, label=label)
        area.plot(known[2], found[2], "o", color=ink.first, label="within the minority")
    area.plot([-0.3, 1], [-0.3, 1], color=ink.line)
