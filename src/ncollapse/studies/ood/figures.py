"""Figures of the ood study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, columns, curves

draw = Drawing()
SHOWN = {"neco": "NECO", "energy": "energy", "mahalanobis": "Mahalanobis", "knn": "KNN"}


def _mean(runs: Runs, key: str, inner: str = "") -> list[float]:
    """Of every severity the mean over splits."""
    table = [[row[key][inner] if inner else row[key] for row in run["rows"]] for run in runs]
    return [sum(column) / len(column) for column in zip(*table, strict=True)]


@draw.figure("split", x="nc1_fisher of the seen digits", y="AUROC, seen against unseen", log="x")
def severity(area: Axes, ink: Ink, runs: Runs) -> None:
    """AUROC of four scores by collapse of the seen digits, mean over splits."""
    nc1 = _mean(runs, "nc1")
    series = {label: (nc1, _mean(runs, "auroc", name)) for name, label in SHOWN.items()}
    curves(area, ink, series, "o-")
    area.invert_xaxis()


@draw.figure("split", x="nc1_fisher of the seen digits", y="NC5", log="x")
def right_angles(area: Axes, ink: Ink, runs: Runs) -> None:
    """NC5 by collapse of the seen digits, raw as published and centred, mean over splits."""
    nc1 = _mean(runs, "nc1")
    series = {"raw": (nc1, _mean(runs, "nc5")), "centred": (nc1, _mean(runs, "nc5_centred"))}
    curves(area, ink, series, "o-")
    area.invert_xaxis()


@draw.figure("advice", x="AUROC of the best score", y="AUROC of the score that the rule names")
def advice(area: Axes, ink: Ink, runs: Runs) -> None:
    """The score that readings name against the best of all, one dot a held-out pair."""
    pairs = runs[0]["pairs"]
    aurocs, names = columns(pairs, "auroc", "rule")
    best = [max(found.values()) for found in aurocs]
    named = [found.get(name, 0.5) for found, name in zip(aurocs, names, strict=True)]
    area.plot(best, named, "o", color=ink.first, label="pairs")
    area.plot([min(named), 1], [min(named), 1], color=ink.line, label="the best")
