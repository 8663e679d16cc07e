"""Runs of the calibration study: reference models measured, and rates of their verdicts."""

from __future__ import annotations

from ncollapse.lab.calibration import models
from ncollapse.lab.calibration.choose import conclude, percent
from ncollapse.lab.calibration.judged import ASKED
from ncollapse.lab.study import Outcome, Plan, Units, outcome


def populations(settings: Plan, seed: int) -> Outcome:
    """Known populations, a draw of each."""
    return outcome(rows=models.drawn(settings))


def trained(settings: Plan, seed: int) -> Outcome:
    """Networks as they train, on their training split."""
    rows, notes = models.trained(settings, seed)
    return outcome(rows=rows, notes=notes)


def fresh(settings: Plan, seed: int) -> Outcome:
    """Networks on known inputs, read on samples that they were not trained on."""
    return outcome(rows=models.fresh(settings, seed))


def combine(units: Units) -> dict[str, list[float]]:
    """Rates on the models that did not choose the cuts, in %."""
    rows = [one for runs in units.values() for run in runs for one in run["rows"]]
    found: dict[str, list[float]] = {"calibration-models": [float(len(rows))]}
    held = conclude(rows).held
    for question in ASKED:
        for name in ("wrong_yes", "wrong_no", "cannot_tell"):
            value = percent(getattr(held[question], name))
            claim = f"calibration-{question}-{name.replace('_', '-')}"
            found[claim] = [] if value is None else [value]
    return found
