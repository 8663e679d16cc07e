"""A prediction's document as reports show it: over a measured run in text, and as a section."""

from __future__ import annotations

import math
from typing import Any

from ncollapse.record.document import USUAL
from ncollapse.theory import ordinal, targets, words

# What writes a prediction of another task than classification, by the task.
TEXTS = {"ordinal": ordinal, "regression": targets}
STATES = {True: "yes", False: "no", None: "not-measured"}


def measured(document: dict[str, Any]) -> dict[str, Any] | None:
    """The measured side in the form of a prediction's document, None where there is none."""
    against = document.get("against")
    if against is None:
        return None
    return {
        "problem": document["problem"],
        "geometry": against["geometry"],
        "logit_margins": against["logit_margins"],
        "collapsed_classes": against["collapsed_classes"],
    }


def pairs(document: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Rows of classes with equal counts, predicted and measured, norms over their root mean
    square: theory knows them up to one factor for all means and one for all rows."""
    rows = words.class_rows(relative(document))
    other = measured(document)
    if other is None:
        return [(row, None) for row in rows]
    return list(zip(rows, words.class_rows(relative(other)), strict=True))


def relative(document: dict[str, Any]) -> dict[str, Any]:
    """The document with norms divided by their root mean square over classes."""
    geometry = dict(document["geometry"])
    sizes = [len(block["classes"]) for block in geometry.get("blocks", ())]
    for name in ("mean_norms", "weight_norms"):
        norms = geometry.get(name)
        if norms is None:
            continue
        weights = sizes or [1] * len(norms)
        square = sum(w * v * v for w, v in zip(weights, norms, strict=True)) / sum(weights)
        scale = math.sqrt(square) if square > 0 else 1.0
        geometry[name] = [value / scale for value in norms]
    return {**document, "geometry": geometry}


def sentence(document: dict[str, Any]) -> str:
    """One sentence: how far theory and model are apart, and what random directions read."""
    against = document.get("against")
    if against is None:
        return "Theory alone: no measured geometry was laid under it."
    null = against["null"]
    said = (
        f"Theory and model are {against['distance']:.2f} apart (0 = same shape; random directions "
        f"{null['mean']:.2f})"
    )
    fit = against.get("fit")
    if fit is not None:
        said += f", with one number fitted, τ = {fit['tau']:.3g}"
    theirs, ours = against["collapsed_classes"], document["collapsed_classes"]
    if not ours and not theirs:
        return f"{said}; no classifier rows merge in either."
    if ours == theirs:
        return f"{said}; the same {len(ours)} classifier rows merge in both."
    return f"{said}; {len(ours)} classifier rows merge in theory, {len(theirs)} in the model."


def place(document: dict[str, Any]) -> str:
    """Where the network sits among critical points, or how many were found; empty without them."""
    found = document.get("landscape")
    if not found:
        return ""
    near = found.get("nearest")
    return str(near["sentence"]) if near else f"{len(found['points'])} critical points found"


def of_classes(document: dict[str, Any]) -> bool:
    """Whether a prediction is of classes; those of other tasks have a text and figures of their
    own."""
    return str(document["problem"].get("task", USUAL)) == USUAL


def as_text(document: dict[str, Any]) -> str:
    """The page of text of a prediction that is not of classes."""
    rendered: str = TEXTS[str(document["problem"]["task"])].render(document)
    return rendered


def render_overlay(document: dict[str, Any], width: int = 80) -> str:
    """Theory over the model as plain text: at most 24 lines of 80 columns."""
    if not of_classes(document):
        return as_text(document)
    lines = [_fit(words.title(document), width)]
    against = document["against"]
    fit = against.get("fit")
    if fit is not None:
        lines.append(
            _fit(
                f"τ {fit['tau']:.4g} fitted · relative logit error {fit['logit_error']:.3f}", width
            )
        )
    blocks = ", ".join(f"{name} {gap:.3f}" for name, gap in against["blocks"].items())
    null = against["null"]
    lines.append(_fit(f"distance {against['distance']:.3f} of 2 ({blocks})", width))
    lines.append(f"random directions {null['low']:.3f} to {null['high']:.3f}")
    if against["left_out"]:
        lines.append(_fit(f"left out, one side lacks: {', '.join(against['left_out'])}", width))
    lines += ["", f"{'model / theory':<14}{'|w| rel.':>15}{'cos w within':>16}{'to others':>17}"
              f"{'margin':>17}"]  # fmt: skip
    rows = pairs(document)
    shown = rows if len(rows) <= 6 else [*rows[:3], None, *rows[-3:]]
    for pair in shown:
        if pair is None:
            lines.append(f" … {len(rows) - 6} more counts …")
            continue
        row, other = pair
        assert other is not None
        who = f"{len(row['classes'])} × {row['count']}"
        cells = [
            f"{words.number(other[key])} / {words.number(row[key])}"
            for key in ("weight_norm", "weight_inside", "weight_across", "margin_mean")
        ]
        lines.append(
            _fit(f" {who:<13}{cells[0]:>15}{cells[1]:>16}{cells[2]:>17}{cells[3]:>17}", width)
        )
    lines += ["", *(_fit(f" {line}", width) for line in words.wrapped(sentence(document)))]
    lines += words.assumption_lines(document["assumptions"], 23 - len(lines))
    return "\n".join(_fit(line, width) for line in lines[:24])


def section(document: dict[str, Any]) -> dict[str, Any]:
    """What the page's theory section shows, as plain texts; figures are added by the page."""
    rows = []
    for row, other in pairs(document):
        cells = [f"{len(row['classes'])} × {row['count']}"]
        for key in (
            "weight_norm", "weight_inside", "weight_across", "mean_norm", "mean_inside",
            "mean_across", "margin_mean",
        ):  # fmt: skip
            if other is not None:
                cells.append(words.number(other[key]))
            cells.append(words.number(row[key]))
        rows.append(tuple(cells))
    fit = (document.get("against") or {}).get("fit")
    notes = [*document["warnings"], *(fit["warnings"] if fit else [])]
    return {
        "title": words.title(document),
        "sentence": sentence(document),
        "certificate": words.certificate_line(document),
        "fit": fit,
        "place": place(document),
        "both": document.get("against") is not None,
        "rows": rows[:20],
        "more_rows": max(len(rows) - 20, 0),
        "thresholds": words.threshold_lines(document),
        "assumptions": [
            {"state": STATES[a["holds"]], "text": a["text"]} for a in document["assumptions"]
        ],
        "sources": document["sources"],
        "notes": notes,
    }


def predicted_means(document: dict[str, Any]) -> Any:
    """Class means (K, K) with the predicted norms and cosines, None for blocks of classes."""
    import numpy as np

    geometry = document["geometry"]
    if "blocks" in geometry or "mean_cosines" not in geometry:
        return None
    norms = np.array(geometry["mean_norms"])
    if not norms.any():
        return None
    values, vectors = np.linalg.eigh(np.outer(norms, norms) * np.array(geometry["mean_cosines"]))
    return vectors * np.sqrt(np.clip(values, 0, None))


def _fit(line: str, width: int) -> str:
    line = line.rstrip()
    return line if len(line) <= width else line[: width - 1] + "…"
