"""Figures of the calibration study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs

draw = Drawing()
PARTS = ("populations", "mlp", "images", "mnist", "fresh")
TRUTHS = ("no", "not yes", "undecided", "yes")


def _shown(area: Axes, ink: Ink, parts: tuple[Runs, ...], question: str, key: str) -> None:
    """A reading with its interval against what is true, drawn and trained models apart."""
    sides = (("drawn", ink.first, parts[:1]), ("networks", ink.second, parts[1:]))
    for number, (label, colour, some) in enumerate(sides):
        rows = [row for runs in some for run in runs for row in run["rows"]]
        for place, truth in enumerate(TRUTHS):
            found = [row["readings"][key] for row in rows if row["truth"].get(question) == truth]
            values = [one["estimate"] if one["interval"] else one["value"] for one in found]
            known = [value for value in values if value is not None]
            spread = [place + 0.15 * (2 * number - 1) + 0.002 * (i % 40) for i in range(len(known))]
            area.plot(known, spread, ".", color=colour, label=label, alpha=0.6)
    area.set_yticks(range(len(TRUTHS)), TRUTHS)


@draw.figure(*PARTS, x="class share", y="true: collapsed")
def collapsed(area: Axes, ink: Ink, *parts: Runs) -> None:
    """Class share of models by whether they are known to be collapsed."""
    _shown(area, ink, parts, "collapsed", "class_share")


@draw.figure(*PARTS, x="distance to the simplex", y="true: a simplex")
def frame(area: Axes, ink: Ink, *parts: Runs) -> None:
    """Distance of means to a simplex by whether they are known to form one."""
    _shown(area, ink, parts, "frame", "nc2_etf_means")


@draw.figure(*PARTS, x="mean cosine of rows and means", y="true: dual")
def dual(area: Axes, ink: Ink, *parts: Runs) -> None:
    """Alignment of the head by whether it is known to be dual."""
    _shown(area, ink, parts, "dual", "nc3_alignment")


@draw.figure(*PARTS, x="share of decisions that differ", y="true: as nearest centres")
def nearest(area: Axes, ink: Ink, *parts: Runs) -> None:
    """Differing decisions by whether head and nearest centres are known to agree."""
    _shown(area, ink, parts, "nearest", "nc4_mismatch")
