"""Runs of the language study: a ladder of small models in two parts, and one size in many ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ncollapse.lab.language import chance, model_row, order, text_of
from ncollapse.lab.study import Outcome, Plan, Units, outcome
from ncollapse.studies.language.claims import TRENDS

CDNV = "lm_cdnv_2_log"


def small(settings: Plan, seed: int) -> Outcome:
    """The smaller models of the ladder."""
    return _ladder(settings, settings["small"], seed)


def large(settings: Plan, seed: int) -> Outcome:
    """The largest ones, which take as long as all others."""
    return _ladder(settings, settings["large"], seed)


def _ladder(settings: Plan, shapes: Sequence[Sequence[int]], seed: int) -> Outcome:
    rows = [model_row(settings, width, depth, seed) for width, depth in shapes]
    return outcome(rows=rows, corpus=text_of(settings).facts)


def many(settings: Plan, seed: int) -> Outcome:
    """One size, seed after seed."""
    width, depth = settings["fixed"]
    rows = [model_row(settings, width, depth, seed + k) for k in range(settings["many"])]
    if not rows:
        return outcome()
    values = {
        "language-seeds-nc4": chance(rows, "lm_nc4"),
        "language-seeds-unc3": chance(rows, "lm_unc3"),
    }
    return outcome(values, rows=rows)


def depth(settings: Plan, seed: int) -> Outcome:
    """One width, more and more blocks."""
    width, _ = settings["fixed"]
    rows = [model_row(settings, width, blocks, seed) for blocks in settings["depths"]]
    return outcome({"language-depth": order(rows, "lm_nc4")} if rows else {}, rows=rows)


def length(settings: Plan, seed: int) -> Outcome:
    """One size, longer and longer training."""
    width, blocks = settings["fixed"]
    rows = [model_row(settings, width, blocks, seed, steps=n) for n in settings["lengths"]]
    return outcome({"language-length": order(rows, "lm_nc4")} if rows else {}, rows=rows)


def combine(units: Units) -> dict[str, list[float]]:
    """The ladder of each seed as a whole."""
    others = {unit["seed"]: unit["rows"] for unit in units["large"]}
    found: dict[str, list[float]] = {}
    for unit in units["small"]:
        if unit["seed"] in others:
            for name, value in _judged([*unit["rows"], *others[unit["seed"]]]).items():
                found.setdefault(name, []).append(value)
    return found


def _judged(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    values = {f"language-{name}": order(rows, key) for name, _, key, _ in TRENDS}
    values["language-free"] = order(rows, "lm_cdnv_1_log")
    values["language-context"] = order(rows, "lm_share_context")
    values["language-floor"] = max(row["lm_information_floor"] for row in rows)
    trained = _range([row[CDNV] for row in rows])
    values["language-untrained"] = _range([row["untrained"][CDNV] for row in rows]) / trained
    return values


def _range(values: Sequence[float]) -> float:
    return max(values) - min(values)
