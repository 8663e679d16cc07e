"""What a target set of other classes found in the layers, as a table for terminal and page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

Found = Mapping[str, Any]
HEAD = (
    "layer", "few shots", "±", "linear", "probe", "sharp", "published", "normal", "NC1", "VCI",
    "LogME", "mixed", "kept",
)  # fmt: skip
# Columns of the terminal; the page has all of them.
SHORT = ("layer", "few shots", "±", "linear", "probe", "sharp", "normal", "mixed", "kept")
INPUT = "input"


def rows(found: Found) -> list[tuple[str, ...]]:
    """A row a layer, input first, in the order of `HEAD`."""
    return [_row(found, name) for name in found["layers"]]


def _row(found: Found, name: str) -> tuple[str, ...]:
    layer = found["layers"][name]
    few = layer["few_shot"][str(found["main"])]
    centres, error, scores = few["centres"], few["error"], layer["scores"]
    over = found["over_collapse"].get(name)
    kept = found["kept"].get(name)
    return (
        name,
        _share(centres["accuracy"]),
        f"{50 * (centres['high'] - centres['low']):.1f}",
        _share(few["linear"]["accuracy"]),
        _share(layer["probe"]["accuracy"]),
        _number(error["sharp"]),
        _number(error["published"]),
        _number(error["normal"]),
        _number(scores["nc1_ratio"]),
        _number(scores["vci"]),
        _number(scores["logme"]),
        "–" if over is None else f"{over['gap']:.3f}",
        "–" if kept is None else f"{100 * kept:.0f} %",
    )


def note(found: Found) -> str:
    """What the columns are."""
    shots = found["main"]
    said = (
        f"few shots, linear: accuracy of nearest centres and of a linear probe after {shots} "
        f"sample{'s' * (shots > 1)} a class (± 95 %, over {found['draws']} draws of the shots); "
        "probe: linear, on two thirds of the samples; sharp, published: bounds on the error of "
        "nearest centres, which say nothing from 1 on; normal: an estimate of that error, no bound"
    )
    if found["over_collapse"]:
        said += (
            "; mixed: AUC that the layer loses between a training class and its adjacent regions; "
            "kept: variance of training samples within their classes"
        )
    cdnv = min(
        layer["few_shot"][str(shots)]["error"]["cdnv"] or float("inf")
        for layer in found["layers"].values()
    )
    said += f". 16(C-1)(1+1/n)·CDNV is {cdnv:.3g} at the least"
    return said + (", and says nothing." if cdnv >= 1 else ".")


def needed(found: Found) -> str:
    """How many shots the best layer needs, in a sentence; "" where that is not known."""
    known = found["layers"][found["best"]]["needed"]
    if known is None:
        return ""
    likely = known["likely"]
    sure = known["guaranteed"]
    return (
        f"Error {known['error']:g} at {found['best']}: "
        + (f"likely from {likely} shots a class on" if likely else "no number of shots is likely")
        + (f", guaranteed from {sure}." if sure else "; no number of shots guarantees it.")
    )


def render_transfer(found: Found, width: int = 80) -> str:
    """The table as plain text, with what the columns are."""
    places = [HEAD.index(name) for name in SHORT]
    table = [tuple(row[place] for place in places) for row in rows(found)]
    lines = [
        f"On other classes: {found['target']} · {found['num_classes']} classes · "
        f"{found['num_samples']} samples · {found['main']} shots",
        f"{'layer':<19}{'few shots':>15}{'linear':>8}{'probe':>8}{'sharp':>7}{'normal':>7}"
        f"{'mixed':>7}{'kept':>6}",
    ]
    for name, few, half, linear, probe, sharp, normal, mixed, kept in table:
        shown = name if len(name) <= 18 else f"…{name[-17:]}"
        mark = "◂ best" if name == found["best"] else ""
        lines.append(
            f"{shown:<19}{f'{few} ±{half}':>15}{linear:>8}{probe:>8}{sharp:>7}{normal:>7}"
            f"{mixed:>7}{kept:>6} {mark}".rstrip()
        )
    lines.append("")
    for said in (needed(found), note(found), *found["notes"]):
        lines += textwrap.wrap(said, width, initial_indent=" ", subsequent_indent="  ")
    return "\n".join(lines)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.3g}"
