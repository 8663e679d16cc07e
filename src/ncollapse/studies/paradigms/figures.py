"""Figures of the paradigms study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, curves

draw = Drawing()
NAMES = {"classification": "classification", "ood": "AUROC of energy", "transfer": "5 shots"}


@draw.figure("sweep", x="nc1_fisher reached", y="accuracy or AUROC, %", log="x")
def sweep(area: Axes, ink: Ink, runs: Runs) -> None:
    """Classification, detection and transfer against collapse, every split and set point."""
    rows = sorted((row for run in runs for row in run["rows"]), key=lambda row: row["nc1"])
    nc1 = [row["nc1"] for row in rows]
    shown = {name: (nc1, [100 * row[key] for row in rows]) for key, name in NAMES.items()}
    curves(area, ink, shown, "o")


@draw.figure("hard", x="set point", y="angle of class means under attack, degrees", log="x")
def hard(area: Axes, ink: Ink, runs: Runs) -> None:
    """How far attacks turn class means, trained against them and not."""
    rows = [row for run in runs for row in run["rows"]]
    points = [row["point"] for row in rows]
    angles = {"against attacks": "angle", "standard": "standard"}
    shown = {name: (points, [row[key] for row in rows]) for name, key in angles.items()}
    curves(area, ink, shown, "o")
