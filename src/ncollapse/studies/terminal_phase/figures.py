"""Figures of the terminal-phase study."""

from __future__ import annotations

import math

import numpy as np

from ncollapse.lab.figures import Axes, Drawing, Ink, Runs, curves
from ncollapse.lab.past_zero import by_network, collapse_by_labels, reading

draw = Drawing()
SHOWN = {
    "nc1_fisher": "NC1",
    "nc2_equinorm_means": "NC2 norms\nmeans",
    "nc2_equinorm_weights": "norms\nweights",
    "nc2_etf_means": "frame\nmeans",
    "nc2_etf_weights": "frame\nweights",
    "nc3_duality": "NC3",
}
MARKS = ("o", "s", "^", "D", "v", "P")


@draw.figure("ce", "mse", x="epoch", y="NC1 on the training split", log="y")
def nc1(area: Axes, ink: Ink, *parts: Runs) -> None:
    """NC1 keeps falling after the epoch from which training error stays zero (dots), one seed."""
    for (name, rows), colour in zip(by_network(*parts).items(), ink.all, strict=False):
        epochs, values = reading(rows[0], "nc1_fisher")
        area.plot(epochs, values, color=colour, label=name)
        there = epochs == (rows[0]["zero_error_epoch"] or math.nan)
        if there.any():
            area.plot(epochs[there], values[there], "o", color=colour)


@draw.figure("ce", "mse", y="reading at the end / at zero error", log="y")
def ratios(area: Axes, ink: Ink, *parts: Runs) -> None:
    """Readings on the training split at the end over those at zero error, one mark a seed."""
    networks = zip(by_network(*parts).items(), ink.all, MARKS, strict=False)
    for number, ((name, rows), colour, mark) in enumerate(networks):
        places = np.arange(len(SHOWN)) + 0.14 * (number - 1.5)
        for row in (row for row in rows if row["zero_error_epoch"] is not None):
            ends = [row["readings"]["train"][key] for key in SHOWN]
            values = [end["end"] / end["zero"] for end in ends]
            area.plot(places, values, mark, color=colour, markersize=4, label=name)
    area.axhline(1.0, color=ink.faint, linewidth=1)
    area.set_xticks(range(len(SHOWN)), list(SHOWN.values()))
    area.tick_params(axis="x", labelsize=9)


@draw.figure("ce", "mse", x="epoch", y="smallest margin / (‖h‖ ‖W‖)")
def margin(area: Axes, ink: Ink, *parts: Runs) -> None:
    """Smallest training margin over feature norm times weight norm grows along training."""
    networks = by_network(*parts).items()
    curves(area, ink, {name: reading(rows[0], "margin_normalised") for name, rows in networks})
    area.axhline(0.0, color=ink.faint, linewidth=1)


@draw.figure("ce", "mse", x="epoch", y="test decisions changed, %")
def decisions(area: Axes, ink: Ink, *parts: Runs) -> None:
    """Share of test decisions that change from one look to the next; the line is one per cent."""
    found = {name: reading(rows[0], "changed") for name, rows in by_network(*parts).items()}
    series = {name: (epochs[1:], 100 * changed[1:]) for name, (epochs, changed) in found.items()}
    curves(area, ink, series, linewidth=1)
    area.axhline(1.0, color=ink.faint, linewidth=1)
    area.set_ylim(0, 5)


@draw.figure("random", y="NC1", log="y")
def random(area: Axes, ink: Ink, runs: Runs) -> None:
    """NC1 of networks trained on random and on true labels: both collapse in training, held-out
    samples only after true labels."""
    columns, null = collapse_by_labels(runs)
    for place, (name, values) in enumerate(columns.items()):
        colour = ink.second if "random" in name else ink.first
        area.plot([place] * len(values), values, "o", color=colour)
    area.axhline(null, color=ink.faint, linewidth=1, label="null, random net")
    area.set_xlim(-0.5, len(columns) - 0.5)
    area.set_xticks(range(len(columns)), list(columns))
    area.tick_params(axis="x", labelsize=9)
