"""The terminal phase begins at the first zero of training error that stays."""

from __future__ import annotations

import pytest

from ncollapse.metrics.phase import terminal_phase
from ncollapse.record.trace import Trace


def trace(errors: list[float], readings=None, *, stated: bool = False) -> Trace:
    found = Trace()
    for number, error in enumerate(errors, 1):
        values: dict[str, float | None] = {"accuracy": 1 - error}
        if stated:
            values["train_error"] = error
        if readings is not None:
            values["nc1_fisher"] = readings(10 * number)
        found.append(10 * number, values, split="train", epoch=float(number))
    return found


def test_the_first_lasting_zero_counts() -> None:
    phase = terminal_phase(trace([0.5, 0.0, 0.1, 0.0, 0.0, 0.0]))
    assert phase is not None and phase.start is not None
    assert (phase.start.epoch, phase.start.step, phase.readings) == (4, 40, 3)
    assert str(phase.start) == "epoch 4"


def test_a_last_error_means_no_terminal_phase() -> None:
    phase = terminal_phase(trace([0.5, 0.0, 0.0, 0.25]))
    assert phase is not None
    assert phase.start is None
    assert phase.last_error == 0.25
    assert phase.changes == {}


def test_an_error_stated_by_the_loop_counts_before_that_of_the_probe() -> None:
    found = trace([0.0, 0.0, 0.0])
    for row_step, error in ((10, 0.3), (20, 0.1), (30, 0.0)):
        found.append(row_step, {"train_error": error}, split="train", epoch=row_step / 10)
    phase = terminal_phase(found)
    assert phase is not None and phase.start is not None
    assert phase.start.step == 30


@pytest.mark.parametrize("power", [-2.0, -0.5, 0.0, 1.0])
def test_power_laws_give_their_exponent(power: float) -> None:
    phase = terminal_phase(trace([1.0] + [0.0] * 9, lambda step: 3 * step**power))
    assert phase is not None
    change = phase.changes["nc1_fisher"]
    assert change.slope == pytest.approx(power, abs=1e-9)
    assert change.error == pytest.approx(0, abs=1e-6)
    assert change.first == pytest.approx(3 * 20**power)
    assert "accuracy" not in phase.changes


def test_readings_that_are_missing_or_not_positive_give_no_slope() -> None:
    phase = terminal_phase(trace([0.0] * 5, lambda step: None if step < 30 else -1.0))
    assert phase is not None
    assert phase.changes["nc1_fisher"].slope is None
    assert phase.changes["nc1_fisher"].first == -1.0
    only = terminal_phase(trace([0.0] * 5, lambda step: 1.0 / step), keys=["class_share"])
    assert only is not None
    assert only.changes == {}


def test_traces_without_errors_tell_nothing() -> None:
    assert terminal_phase(Trace()) is None
    found = Trace()
    found.append(1, {"nc1_fisher": 0.1}, split="train")
    assert terminal_phase(found) is None
    found.append(1, {"accuracy": 1.0}, split="test")
    assert terminal_phase(found) is None
    found.append(1, {"accuracy": 1.0}, split="train")
    phase = terminal_phase(found)
    assert phase is not None
    assert str(phase.start) == "step 1"
