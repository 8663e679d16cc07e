"""Figures of the fixed-head study."""

from __future__ import annotations

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, columns
from ncollapse.lab.statistics import paired

draw = Drawing()


@draw.figure("mlp", "resnet", y="fixed minus learned, points of test accuracy")
def accuracy(area: Axes, ink: Ink, mlp: Runs, resnet: Runs) -> None:
    """Paired differences of test accuracy between fixed and learned heads, by network."""
    area.axhspan(-1, 1, color=ink.faint, alpha=0.12, linewidth=0)
    area.axhline(0, color=ink.line)
    every = [paired(runs, arm, "learned") for runs in (mlp, resnet) for arm in ("full", "narrow")]
    for place, gaps in enumerate(every):
        x = [place + 0.4 * (i / max(len(gaps) - 1, 1) - 0.5) for i in range(len(gaps))]
        area.plot(x, gaps, ".", color=ink.first, label="fold and seed")
        if gaps:
            middle = [sum(gaps) / len(gaps)] * 2
            area.plot([place - 0.3, place + 0.3], middle, color=ink.second, label="mean")
    area.set_xticks(range(4), ["MLP", "MLP, d = K", "ResNet", "ResNet, d = K"])


@draw.figure("savings", x="classes", y="parameters of ResNet-18 saved, %")
def savings(area: Axes, ink: Ink, runs: Runs) -> None:
    """Share of ResNet-18's parameters that d = K saves: falls with the number of classes, negative
    from 512 on."""
    curve = runs[0]["curve"]
    area.axhline(0, color=ink.line)
    x, share = columns(curve, "classes", "share")
    area.plot(x, [100 * value for value in share], "o-", color=ink.first)
