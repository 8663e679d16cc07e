"""The terminal phase of training: what a trace says after the first lasting zero of its error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ncollapse.record.trace import Trace

ERROR, ACCURACY = "train_error", "accuracy"


@dataclass(frozen=True)
class Moment:
    """A place in training: step, and epoch where it was recorded."""

    step: int
    epoch: float | None

    def __str__(self) -> str:
        return f"step {self.step}" if self.epoch is None else f"epoch {self.epoch:g}"


@dataclass(frozen=True)
class Change:
    """One reading in the terminal phase: first and last value, and the slope of log10 value
    against log10 step with its 95 % half-width (None with fewer than three positive values)."""

    first: float
    last: float
    slope: float | None
    error: float | None


@dataclass(frozen=True)
class Phase:
    """start: first reading of zero training error that stays (None if the last is not zero);
    last: the last reading; last_error: training error there; readings: how many since start;
    changes: by key, of `split` and `layer`."""

    start: Moment | None
    last: Moment
    last_error: float
    readings: int
    split: str
    layer: str
    changes: dict[str, Change]


def terminal_phase(
    trace: Trace,
    *,
    split: str = "train",
    layer: str = "head",
    keys: Iterable[str] | None = None,
) -> Phase | None:
    """Where training error becomes zero and stays, and how readings move after it.

    The error is the reading `train_error` where a trace holds it, else 1 - accuracy on `split`.
    None when the trace holds neither. Source: the terminal phase of Papyan, Han and Donoho (2020)
    begins at zero training error.
    """
    errors = _errors(trace, split, layer)
    if not errors:
        return None
    start: Moment | None = None
    for moment, error in errors:
        if error > 0:
            start = None
        elif start is None:
            start = moment
    last, last_error = errors[-1]
    if start is None:
        return Phase(None, last, last_error, 0, split, layer, {})
    found: dict[str, list[tuple[int, float]]] = {}
    wanted = None if keys is None else set(keys)
    for row in trace.rows:
        if (row.split, row.layer) != (split, layer) or row.value is None or row.step < start.step:
            continue
        if row.key not in (ERROR, ACCURACY) and (wanted is None or row.key in wanted):
            found.setdefault(row.key, []).append((row.step, row.value))
    changes = {key: _change(points) for key, points in found.items()}
    since = sum(moment.step >= start.step for moment, _ in errors)
    return Phase(start, last, last_error, since, split, layer, changes)


def _errors(trace: Trace, split: str, layer: str) -> list[tuple[Moment, float]]:
    """Training error at every reading, in order of steps."""
    stated: dict[int, tuple[Moment, float]] = {}
    derived: dict[int, tuple[Moment, float]] = {}
    for row in trace.rows:
        if row.split != split or row.layer != layer or row.value is None:
            continue
        moment = Moment(row.step, row.epoch)
        if row.key == ERROR:
            stated[row.step] = (moment, row.value)
        elif row.key == ACCURACY:
            derived[row.step] = (moment, 1 - row.value)
    found = stated or derived
    return [found[step] for step in sorted(found)]


def _change(points: list[tuple[int, float]]) -> Change:
    positive = [(step, value) for step, value in points if step > 0 and value > 0]
    slope = error = None
    if len(positive) >= 3:
        import numpy as np
        from scipy.stats import linregress, t

        steps, values = np.array(positive, dtype=float).T
        if steps.min() < steps.max():
            fit = linregress(np.log10(steps), np.log10(values))
            slope = float(fit.slope)
            error = float(fit.stderr * t.ppf(0.975, len(positive) - 2))
    return Change(points[0][1], points[-1][1], slope, error)
