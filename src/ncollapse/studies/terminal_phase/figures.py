"""Figures of the terminal-phase study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ncollapse.lab.figures import axes, finish
from ncollapse.lab.study import Units

SHOWN = {
    "nc1_fisher": "NC1",
    "nc2_equinorm_means": "NC2 norms, means",
    "nc2_equinorm_weights": "norms, weights",
    "nc2_etf_means": "frame, means",
    "nc2_etf_weights": "frame, weights",
    "nc3_duality": "NC3",
}
MARKS = ("o", "s", "^", "D", "v", "P")


def figures(units: Units) -> dict[str, Any]:
    """{name: (alt text, figure)} for whatever parts have finished runs."""
    made: dict[str, Any] = {}
    runs = [row for part in ("ce", "mse") for unit in units[part] for row in unit["rows"]]
    # The first seed of each network: later ones look alike and would hide one another.
    first: dict[str, Mapping[str, Any]] = {}
    for row in runs:
        first.setdefault(f"{_short(row['model'])}, {row['loss'].upper()}", row)
    if first:
        made["nc1"] = _nc1(first)
        made["ratios"] = _ratios(runs, list(first))
        made["margin"] = _margin(first)
        made["decisions"] = _decisions(first)
    if units["random"]:
        made["random"] = _random(units["random"])
    return made


def _short(model: str) -> str:
    return model.rpartition(":")[2].rpartition(".")[2]


def _array(values: Sequence[float | None]) -> Float[np.ndarray, " looks"]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _nc1(first: Mapping[str, Any]) -> tuple[str, Any]:
    figure, area, ink = axes("epoch", "NC1 on the training split", "y")
    for (name, row), colour in zip(first.items(), ink.all, strict=False):
        epochs, values = _array(row["curves"]["epoch"]), _array(row["curves"]["nc1_fisher"])
        area.plot(epochs, values, color=colour, label=name)
        zero = row["zero_error_epoch"]
        if zero is not None:
            there = epochs == zero
            area.plot(epochs[there], values[there], "o", color=colour)
    alt = "NC1 keeps falling after the epoch from which training error stays zero (dots), one seed"
    return alt, finish(figure, area)


def _ratios(runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[str, Any]:
    figure, area, ink = axes("", "reading at the end / at zero error", "y")
    said: set[str] = set()
    for row in runs:
        name = f"{_short(row['model'])}, {row['loss'].upper()}"
        if row["zero_error_epoch"] is None or name not in names[: len(ink.all)]:
            continue
        number = names.index(name)
        ends = [row["readings"]["train"][key] for key in SHOWN]
        ratios = [end["end"] / end["zero"] for end in ends]
        places = np.arange(len(SHOWN)) + 0.14 * (number - 1.5)
        label = None if name in said else name
        said.add(name)
        area.plot(places, ratios, MARKS[number], color=ink.all[number], markersize=4, label=label)
    area.axhline(1.0, color=ink.faint, linewidth=1)
    area.set_xticks(range(len(SHOWN)), [label.replace(", ", "\n") for label in SHOWN.values()])
    area.tick_params(axis="x", labelsize=9)
    alt = "Readings on the training split at the end over those at zero error, one mark a seed"
    return alt, finish(figure, area)


def _margin(first: Mapping[str, Any]) -> tuple[str, Any]:
    figure, area, ink = axes("epoch", "smallest margin / (‖h‖ ‖W‖)")
    for (name, row), colour in zip(first.items(), ink.all, strict=False):
        epochs = _array(row["curves"]["epoch"])
        values = _array(row["curves"]["margin_normalised"])
        area.plot(epochs, values, color=colour, label=name)
    area.axhline(0.0, color=ink.faint, linewidth=1)
    alt = "Smallest training margin over feature norm times weight norm grows along training"
    return alt, finish(figure, area)


def _decisions(first: Mapping[str, Any]) -> tuple[str, Any]:
    figure, area, ink = axes("epoch", "test decisions changed, %")
    for (name, row), colour in zip(first.items(), ink.all, strict=False):
        epochs = _array(row["curves"]["epoch"])
        values = 100 * _array(row["curves"]["changed"])
        area.plot(epochs[1:], values[1:], color=colour, linewidth=1, label=name)
    area.axhline(1.0, color=ink.faint, linewidth=1)
    area.set_ylim(0, 5)
    alt = "Share of test decisions that change from one look to the next; the line is one per cent"
    return alt, finish(figure, area)


def _random(units: Sequence[Mapping[str, Any]]) -> tuple[str, Any]:
    figure, area, ink = axes("", "NC1", "y")
    columns: list[tuple[str, list[float]]] = [
        ("train,\nrandom", [unit["random"]["train_nc1"] for unit in units]),
        ("train,\ntrue", [unit["true"]["train_nc1"] for unit in units]),
        (
            "held out,\nrandom",
            [float(np.mean([row["nc1"] for row in unit["labellings"]])) for unit in units],
        ),
        ("random net,\ntrue labels", [unit["random"]["held_out"]["nc1"] for unit in units]),
        ("held out,\ntrue", [unit["true"]["held_out"]["nc1"] for unit in units]),
    ]
    nulls = [float(np.mean([row["null"] for row in unit["labellings"]])) for unit in units]
    for place, (name, values) in enumerate(columns):
        colour = ink.second if "random" in name else ink.first
        area.plot([place] * len(values), values, "o", color=colour)
    area.axhline(float(np.mean(nulls)), color=ink.faint, linewidth=1, label="null, random net")
    area.set_xlim(-0.5, len(columns) - 0.5)
    area.set_xticks(range(len(columns)), [name for name, _ in columns])
    area.tick_params(axis="x", labelsize=9)
    alt = (
        "NC1 of networks trained on random and on true labels: both collapse in training, held-out "
        "samples only after true labels"
    )
    return alt, finish(figure, area)
