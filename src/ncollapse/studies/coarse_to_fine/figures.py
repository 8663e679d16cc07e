"""Figures of the coarse-to-fine study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, curves

draw = Drawing()
X, Y = "nc1_fisher of the super-classes", "test accuracy on ten digits, %"


@draw.figure("two", x=X, y=Y, log="x")
def two(area: Axes, ink: Ink, runs: Runs) -> None:
    """What is left of ten digits under two super-classes, against collapse: probes and tuning."""
    _draw(area, ink, runs)


@draw.figure("five", x=X, y=Y, log="x")
def five(area: Axes, ink: Ink, runs: Runs) -> None:
    """What is left of ten digits under five super-classes, against collapse: probes and tuning."""
    _draw(area, ink, runs)


def _draw(area: Axes, ink: Ink, runs: Runs) -> None:
    rows = [row for run in runs for row in run["rows"]]
    nc1 = [row["nc1"] for row in rows]
    first, *_, last = (name for name in rows[0]["probe"] if name != "input")
    shown = {
        f"probe, {first}": [row["probe"][first] for row in rows],
        f"probe, {last}": [row["probe"][last] for row in rows],
        "last block tuned": [row["block"] for row in rows],
        "whole network tuned": [row["full"] for row in rows],
    }
    curves(area, ink, {name: (nc1, [100 * v for v in part]) for name, part in shown.items()}, "o")
