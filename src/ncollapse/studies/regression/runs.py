"""Runs of the regression study: one network each, measured and laid beside the closed form."""

from __future__ import annotations

from typing import Any

from ncollapse.lab.regression import network_row
from ncollapse.lab.study import Outcome, Plan, outcome


def digits(settings: Plan, seed: int) -> Outcome:
    """Digits to image moments, with decay."""
    found = network_row("digits", settings, seed, settings["decay"])
    values = _held("digits", found) | {
        f"regression-digits-{key}": found[key] / settings["declared"] for key in ("nrc1", "nrc2")
    }
    return outcome(values, **found)


def diabetes(settings: Plan, seed: int) -> Outcome:
    """Diabetes, with decay."""
    found = network_row("diabetes", settings, seed, settings["decay"])
    return outcome(_held("diabetes", found), **found)


def bare(settings: Plan, seed: int) -> Outcome:
    """Digits without decay: the closed form has no say, and nothing collapses."""
    found = network_row("digits", settings, seed, 0.0)
    values = {"regression-bare-nrc1": found["nrc1"], "regression-bare-nrc3": found["best"]}
    return outcome(values, **found)


def relu(settings: Plan, seed: int) -> Outcome:
    """Digits with decay, features after a ReLU."""
    found = network_row("digits", settings, seed, settings["decay"], relu=True)
    values = {
        "regression-relu-error": found["error"],
        "regression-relu-gram": found["gram_gap"],
        "regression-relu-nrc1": found["nrc1"],
    }
    return outcome(values, **found)


def _held(data: str, found: dict[str, Any]) -> dict[str, float]:
    names = {
        "error": "error",
        "each": "each",
        "gram": "gram_gap",
        "nrc3": "nrc3",
        "spectrum": "ratio_gap",
        "roots": "spectrum_gap",
        "vectors": "alignment",
    }
    return {f"regression-{data}-{name}": found[key] for name, key in names.items()}
