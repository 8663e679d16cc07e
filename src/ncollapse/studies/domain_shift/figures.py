"""Figures of the domain-shift study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, columns, curves

draw = Drawing()


@draw.figure("sweep", x="strength of reversal, by number", y="accuracy")
def accuracy(area: Axes, ink: Ink, runs: Runs) -> None:
    """Accuracy by strength of reversal, mean over seeds: a probe on the unseen domain, the network
    on seen ones, a probe for the domain."""
    names = {"unseen": "unseen, probe", "source": "seen, network", "domain": "domain, probe"}
    mean = {
        name: [sum(run["rows"][i][key] for run in runs) / len(runs) for i in _places(runs)]
        for key, name in names.items()
    }
    curves(area, ink, {name: (_places(runs), row) for name, row in mean.items()}, "o-")


@draw.figure("sweep", x="strength of reversal, by number", y="effective rank", log="y")
def rank(area: Axes, ink: Ink, runs: Runs) -> None:
    """Effective rank of features by strength of reversal, a line a seed."""
    for run, colour in zip(runs, ink.all * len(runs), strict=False):
        area.plot(_places(runs), *columns(run["rows"], "rank"), "o-", color=colour)


def _places(runs: Runs) -> range:
    return range(len(runs[0]["rows"]))
