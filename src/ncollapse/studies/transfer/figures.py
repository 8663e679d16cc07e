"""Figures of the transfer study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, columns, curves

draw = Drawing()
ARMS = {"koleo": "KoLeo", "coding": "coding rate", "thermostat": "thermostat"}


@draw.figure("split", x="nc1_fisher of the seen classes", y="%", log="x")
def trade_off(area: Axes, ink: Ink, runs: Runs) -> None:
    """5-shot accuracy on unseen digits and AUROC of telling them apart as foreign, against collapse
    of the seen ones."""
    rows = [row for run in runs for row in run["rows"]]
    nc1, unseen, energy, neco = columns(rows, "nc1", "unseen", "energy", "neco")
    named = {"5-shot accuracy": unseen, "AUROC energy": energy, "AUROC NECO": neco}
    curves(area, ink, {name: (nc1, [100 * v for v in part]) for name, part in named.items()}, "o")


@draw.figure("split", x="layer", y="5-shot accuracy, unseen, %")
def layers(area: Axes, ink: Ink, runs: Runs) -> None:
    """5-shot accuracy on unseen digits by layer, for each degree of collapse: means over splits."""
    count = len(runs[0]["rows"])
    names = list(runs[0]["rows"][0]["accuracy"])
    colours = ink.all
    for number in range(count):
        rows = [run["rows"][number] for run in runs]
        values = [100 * sum(row["accuracy"][name] for row in rows) / len(rows) for name in names]
        label = f"{rows[0]['epochs']} epochs, decay {rows[0]['decay']:g}"
        style = "o-" if number < len(colours) else "s--"
        area.plot(names, values, style, color=colours[number % len(colours)], label=label)


@draw.figure("split", x="sharp bound at 5 shots", y="5-shot error, unseen")
def bounds(area: Axes, ink: Ink, runs: Runs) -> None:
    """5-shot error on unseen digits against the sharp bound, networks by how they were trained."""
    plain = [row for run in runs for row in run["rows"]]
    series = {"cross-entropy": plain}
    series |= {name: [run["arms"][arm] for run in runs] for arm, name in ARMS.items()}
    points = {
        name: ([row["sharp"] for row in rows], [1 - row["unseen"] for row in rows])
        for name, rows in series.items()
    }
    curves(area, ink, points, "o")
