"""Figures of the head-sum study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()


@draw.figure("law", "broken", x="network", y="deviation from the law", log="y")
def deviations(area: Axes, ink: Ink, law: Runs, broken: Runs) -> None:
    """How far the sum of the classifier's rows ends from its law: runs without a fault, squared
    errors, and other optimizers against the law of their decay."""
    names = list(dict.fromkeys(row["network"] for run in law for row in run["rows"]))
    groups = [("SGD, losses of softmax", ink.first, [row for run in law for row in run["rows"]])]
    for key, label in (("squares", "squared errors"), ("adamw", "AdamW"), ("muon", "Muon")):
        groups.append((label, ink.second, [row for run in broken for row in run[key]]))
    for mark, (label, colour, rows) in zip("os^v", groups, strict=True):
        places = [names.index(row["network"]) for row in rows]
        errors = [row["error"] for row in rows]
        area.plot(places, errors, mark, color=colour, label=label, markersize=4)
    area.set_xticks(range(len(names)), names, fontsize=8)
