"""The delay of grokking in a trace: when each reading was half way to where it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ncollapse.record.trace import Trace

GROKKED, TOGETHER, SHORT = "grokked", "no delay", "too short"
# Unseen samples follow twice as late as training ones, at least (ours).
APART = math.log10(2)
READINGS = 8
# A reading that moved by more of its range than this since half the steps has not come to rest.
RESTS = 0.1
SMALL = 0.05


@dataclass(frozen=True)
class Delay:
    """When readings were half way, in steps, and what that says.

    train, test: of accuracy; collapse_train, collapse_test: of `key`, None where a trace has none
    or it never moved. decades: log10(test/train). status: "grokked" (unseen samples followed by a
    factor of 2 or more), "no delay", or "too short", with the reason in `sentence`.
    """

    status: str
    sentence: str
    key: str
    train: float | None = None
    test: float | None = None
    collapse_train: float | None = None
    collapse_test: float | None = None

    @property
    def decades(self) -> float | None:
        return decades(self.train, self.test)

    @property
    def together(self) -> float | None:
        """Decades from held-out collapse to test accuracy: near 0 where they move together."""
        return decades(self.collapse_test, self.test)

    @property
    def precedes(self) -> float | None:
        """Decades by which collapse on training samples precedes test accuracy."""
        return decades(self.collapse_train, self.test)

    def to_dict(self) -> dict[str, Any]:
        derived = {name: getattr(self, name) for name in ("decades", "together", "precedes")}
        return {**asdict(self), **derived}

    def __str__(self) -> str:
        return self.sentence


def grokking_delay(
    trace: Trace,
    *,
    train: str = "train",
    test: str = "test",
    layer: str = "head",
    key: str = "class_share",
    accuracy: str = "accuracy",
) -> Delay:
    """How much later a network answered for unseen samples than for those it was trained on.

    trace: of `nc.Tracker`, or `nc.Trace.load("run/trace.csv")`. `half_way` says when a reading is
    half way. Too short, with a sentence that says why: fewer than 8 readings of accuracy, training
    accuracy that never rose, test accuracy that never did or still moves at the end (by more than a
    tenth of its rise since half of the steps). A trace that ends before the network groks looks
    like one that never will, so that is never called "no delay". `key` is the reading of collapse,
    of both splits; class_share, 1 - the share of variance within classes, is bounded, so that half
    way means the same wherever it began. Raises ValueError where the trace has no accuracy of both.
    """
    curves = {split: _curve(trace, split, layer, accuracy) for split in (train, test)}
    missing = [split for split, (steps, _) in curves.items() if not steps]
    if missing:
        raise ValueError(
            f"the trace has no {accuracy!r} of split {missing[0]!r} at layer {layer!r}; follow "
            "both splits, as nc.Tracker(model, train=…, test=…) does"
        )
    times = {name: half_way(*curve, least=SMALL) for name, curve in curves.items()}
    of_collapse = {split: half_way(*_curve(trace, split, layer, key)) for split in (train, test)}
    found: dict[str, Any] = {
        "key": key,
        "train": times[train],
        "test": times[test],
        "collapse_train": of_collapse[train],
        "collapse_test": of_collapse[test],
    }
    reason = _short(curves[train], curves[test], times[train], times[test])
    if reason:
        return Delay(SHORT, f"too short for a delay: {reason}", **found)
    gap = decades(times[train], times[test])
    assert gap is not None
    said = (
        f"unseen samples were half way at step {times[test]:.0f}, training samples at "
        f"{times[train]:.0f}: a factor of {10**gap:.3g}"
    )
    return Delay(GROKKED if gap >= APART else TOGETHER, said, **found)


def half_way(steps: Sequence[int], values: Sequence[float], *, least: float = 0.0) -> float | None:
    """The step at which a series passes the middle between its first and last value for the last
    time, interpolated in log step.

    None with fewer than two readings, and where first and last differ by `least` or less. Steps
    count from 1 (step 0 is taken for 1).
    """
    if len(steps) < 2 or not abs(values[-1] - values[0]) > least:
        return None
    middle = (values[0] + values[-1]) / 2
    up = values[-1] > values[0]
    last = next(
        place
        for place in range(len(values) - 2, -1, -1)
        if (values[place] < middle if up else values[place] > middle)
    )
    low, high = (math.log(max(steps[place], 1)) for place in (last, last + 1))
    share = (middle - values[last]) / (values[last + 1] - values[last])
    return math.exp(low + share * (high - low))


def decades(first: float | None, second: float | None) -> float | None:
    """log10(second/first); None where one is missing."""
    return None if first is None or second is None else math.log10(second / first)


def _short(train: Any, test: Any, fitted: float | None, followed: float | None) -> str:
    count = min(len(train[0]), len(test[0]))
    if count < READINGS:
        return f"{count} readings of accuracy and {READINGS} are needed; look more often"
    if fitted is None:
        return "training accuracy did not rise; train until it does"
    steps, values = test
    if followed is None:
        return (
            f"test accuracy has not risen by step {steps[-1]}; train on, or it may never: weight "
            "decay sets the time, about 1/(η λ) steps"
        )
    since = [value for step, value in zip(steps, values, strict=True) if step >= steps[-1] / 2]
    moved = max(abs(value - since[-1]) for value in since)
    if moved > RESTS * abs(values[-1] - values[0]):
        return (
            f"test accuracy still moved by {moved:.2g} in the last half of {steps[-1]} steps; "
            "train until it rests"
        )
    return ""


def _curve(trace: Trace, split: str, layer: str, key: str) -> tuple[list[int], list[float]]:
    known = [
        (step, value)
        for step, value in zip(*trace.series(split, layer, key), strict=True)
        if value is not None
    ]
    return [step for step, _ in known], [value for _, value in known]
