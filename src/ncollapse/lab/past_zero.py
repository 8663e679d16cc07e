"""What the looks of a network say about its terminal phase, from zero training error to the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncollapse.lab.looks import FEATURE_NORM, WEIGHT_NORM, Looks
from ncollapse.metrics.phase import Change, Phase, terminal_phase
from ncollapse.record.trace import Trace

NC1 = ("nc1_fisher",)
NC2 = ("nc2_equinorm_means", "nc2_equinorm_weights", "nc2_etf_means", "nc2_etf_weights")
NC3 = ("nc3_duality",)
FALLING = NC1 + NC2 + NC3
NUMBERS = ("nc1", "nc2", "nc3", "slopes", "margin", "decisions", "decisions-kept")
KEYS = (*FALLING, "nc4_mismatch", "accuracy", "margin_min")


def phase_of(looks: Looks) -> dict[str, Any]:
    """What the looks of one network say: a number for each claim, curves, both splits' readings.

    Readings and margins are compared with the first look of zero training error, where the paper's
    terminal phase begins; slopes and decisions with the first look from which error stays zero.
    Numbers are nan where fewer than four looks follow, or error did not end at zero.
    margin_normalised: margin_min over the mean norm of features times the Frobenius norm of the
    classifier, so that it cannot grow by scale alone.
    """
    trace = looks.trace
    steps, errors = trace.series("train", "head", "train_error")
    epochs = [row.epoch for row in trace.rows if row.key == "train_error"]
    changed = looks.changed()
    phase = terminal_phase(trace, keys=(*FALLING, "margin_min"))
    start = None if phase is None or phase.start is None else steps.index(phase.start.step)
    first = _since_first(looks, [error == 0 for error in errors])
    return {
        "zero_error_epoch": None if start is None else epochs[start],
        "readings": _ends(trace, start),
        "curves": {
            "epoch": epochs,
            "train_error": errors,
            "changed": changed,
            "margin_normalised": normalised_margin(trace),
            **{key: _series(trace, key) for key in KEYS},
        },
        "test_accuracy": _series(trace, "accuracy", "test")[-1],
        "numbers": _numbers(looks, phase, start, changed, first),
        "since_first_zero": first,
    }


def by_network(*parts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What `phase_of` said of every seed, under the name of the network and its loss. Where one is
    drawn it is the first: later ones look alike and would hide one another."""
    found: dict[str, list[Any]] = {}
    for row in (row for runs in parts for run in runs for row in run["rows"]):
        short = row["model"].rpartition(":")[2].rpartition(".")[2]
        found.setdefault(f"{short}, {row['loss'].upper()}", []).append(row)
    return found


def reading(row: Mapping[str, Any], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epochs of the looks, and a reading there."""
    epochs, values = (np.array(row["curves"][name], dtype=np.float64) for name in ("epoch", key))
    return epochs, values


def collapse_by_labels(
    runs: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, list[float]], float]:
    """Of runs on random and true labels: NC1 by split and labels, and the mean null of held-out
    samples after random ones."""
    held, nulls = (
        [float(np.mean([row[key] for row in run["labellings"]])) for run in runs]
        for key in ("nc1", "null")
    )
    columns = {
        "train,\nrandom": [run["random"]["train_nc1"] for run in runs],
        "train,\ntrue": [run["true"]["train_nc1"] for run in runs],
        "held out,\nrandom": held,
        "random net,\ntrue labels": [run["random"]["held_out"]["nc1"] for run in runs],
        "held out,\ntrue": [run["true"]["held_out"]["nc1"] for run in runs],
    }
    return columns, float(np.mean(nulls))


def _series(trace: Trace, key: str, split: str = "train") -> list[float | None]:
    return trace.series(split, "head", key)[1]


def _since_first(looks: Looks, zeros: Sequence[bool]) -> dict[str, float | int] | None:
    """Ratios of the end to the first look at zero training error, after which error may come back:
    where the paper's terminal phase begins (remembered, not read)."""
    if True not in zeros:
        return None
    first = list(zeros).index(True)

    def ratio(values: Sequence[float | None]) -> float:
        before, after = values[first], values[-1]
        return math.nan if not before or after is None else after / before

    def largest(keys: Sequence[str]) -> float:
        return max(ratio(_series(looks.trace, key)) for key in keys)

    return {
        "look": first,
        "later_errors": list(zeros)[first:].count(False),
        "nc1": largest(NC1),
        "nc2": largest(NC2),
        "nc3": largest(NC3),
        "margin": largest(("margin_min",)),
        "margin_normalised": ratio(normalised_margin(looks.trace)),
        "decisions-kept": looks.differ(first),
    }


def _ends(trace: Trace, start: int | None) -> dict[str, Any]:
    """Every reading at zero error and at the end by split, with its slope in training."""
    phase = terminal_phase(trace, split="train", keys=KEYS)
    slopes = {} if phase is None else phase.changes

    def ends(values: Sequence[float | None], change: Change | None) -> dict[str, float | None]:
        return {
            "zero": None if start is None else values[start],
            "end": values[-1],
            "slope": None if change is None else change.slope,
            "error": None if change is None else change.error,
        }

    train = {key: ends(_series(trace, key), slopes.get(key)) for key in KEYS}
    test = {key: ends(_series(trace, key, "test"), None) for key in KEYS}
    train["margin_normalised"] = ends(normalised_margin(trace), None)
    return {"train": train, "test": test}


def normalised_margin(trace: Trace) -> list[float]:
    """margin_min / (mean ‖h‖ · ‖W‖_F) of the training split at every look."""
    columns = [_series(trace, key) for key in ("margin_min", FEATURE_NORM, WEIGHT_NORM)]
    margin, feature, weight = np.array(columns, dtype=np.float64)
    return [float(value) for value in margin / (feature * weight)]


def _numbers(
    looks: Looks,
    phase: Phase | None,
    start: int | None,
    changed: Sequence[float],
    first: Mapping[str, float | int] | None,
) -> dict[str, float]:
    """What the claims read, one for each of `NUMBERS` and nc4."""
    mismatch = _series(looks.trace, "nc4_mismatch")[-1]
    nc4 = {"nc4": math.nan if mismatch is None else 100 * mismatch}
    if phase is None or start is None or first is None or len(changed) - start < 4:
        return {**dict.fromkeys(NUMBERS, math.nan), **nc4}
    changes = phase.changes
    upper = [
        math.nan if change.slope is None or change.error is None else change.slope + change.error
        for change in (changes[key] for key in FALLING)
    ]
    late = changed[start + 1 :]
    return {
        **{key: float(first[key]) for key in ("nc1", "nc2", "nc3", "margin")},
        "slopes": max(upper),
        "decisions": 100 * max(late[-max(1, len(late) // 4) :]),
        "decisions-kept": looks.differ(start),
        **nc4,
    }
