"""Figures of the thermostat study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, along_epochs, by_point

draw = Drawing()
UNSEEN = "5-shot accuracy, unseen"


@draw.figure("dial", x="epoch", y="nc1_fisher, training split, eval mode", log="y")
def readings(area: Axes, ink: Ink, dial: Runs) -> None:
    """NC1 of the training split by epoch, with the thermostat at four set points and without."""
    points = zip(*(run["rows"] for run in dial), strict=True)
    for rows, colour in zip(points, ink.all, strict=False):
        point = rows[0]["point"]
        area.axhline(point, color=colour, linestyle=":", linewidth=1)
        for row in rows:
            along_epochs(area, row, colour, f"set point {point:g}")
    for run in dial:
        along_epochs(area, run["plain"], ink.faint, "no thermostat")
    # Room for the legend below the curves.
    area.set_ylim(bottom=min(min(run["plain"]["readings"]) for run in dial) / 20)


@draw.figure("dial", x="set point of nc1_fisher", y=UNSEEN, log="x")
def unseen(area: Axes, ink: Ink, dial: Runs) -> None:
    """5-shot accuracy on unseen digits by set point; crosses without a thermostat, at the NC1 they
    reach."""
    by_point(area, ink, dial)


@draw.figure("ratio", x="set point of nc1_ratio", y=UNSEEN, log="x")
def unseen_ratio(area: Axes, ink: Ink, ratio: Runs) -> None:
    """5-shot accuracy on unseen digits by set point, where the thermostat holds nc1_ratio."""
    by_point(area, ink, ratio)


@draw.figure("batches", x="samples a batch", y="over the set point, or the population", log="x")
def batch_sizes(area: Axes, ink: Ink, batches: Runs) -> None:
    """What the population has over its set point by batch size, and, faint, what a batch alone
    shows over what the population has: less, the smaller the batch."""
    for run in batches:
        for row in run["rows"]:
            colour = ink.all[("ratio", "cdnv", "fisher").index(row["metric"])]
            held = row["population"] / row["point"]
            area.plot([row["size"]], [held], "o", color=colour, label=f"held: nc1_{row['metric']}")
            area.plot([row["size"]], [row["plain"]], "x", color=ink.faint, label="a batch alone")
    area.axhline(1.0, color=ink.line, linewidth=1)
    area.set_ylim(bottom=0)
