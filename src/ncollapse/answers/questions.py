"""Readings → answers in plain words, each with its number and what it is compared with."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from importlib import resources
from statistics import median

from ncollapse.metrics.phase import terminal_phase
from ncollapse.record.readings import ClassRow, Number, Reading, Results, Verdict
from ncollapse.record.trace import Trace


@cache
def cuts() -> dict[str, float]:
    """The provisional cuts, by name."""
    text = resources.files("ncollapse.answers").joinpath("cuts.json").read_text("utf-8")
    return {
        name: float(entry["value"])
        for name, entry in json.loads(text).items()
        if isinstance(entry, dict)
    }


def judge(
    results: Results,
    classes: Sequence[ClassRow],
    *,
    num_classes: int,
    num_features: int,
    layer: str = "head",
    trace: Trace | None = None,
) -> tuple[Verdict, ...]:
    """Answers to what users ask, in a fixed order, about one layer. Nothing is said about NC2 and
    NC3 unless variability within classes is resolved from shuffled labels."""
    train = _Split("train" if "train" in results else next(iter(results)), results, layer)
    verdicts = [_collapsed(train, f"Collapsed on {train.name}?")]
    others = [name for name in results if name != train.name]
    for name in others:
        verdicts.append(_collapsed(_Split(name, results, layer), f"Collapsed on {name}?"))
    if not others:
        verdicts.append(
            _unmeasured(
                "Collapsed on test?",
                "Only one split was measured; add a split array or a second file to see held-out "
                "data, which often does not collapse.",
            )
        )
    verdicts.append(_frame(train, num_classes, num_features))
    verdicts.append(_dual(train))
    verdicts.append(_nearest(train))
    verdicts.append(_minority(train, classes))
    verdicts += [
        _terminal(trace, layer),
        _unmeasured(
            "Will it transfer?", "No other task was measured; collapse alone does not say."
        ),
        _unmeasured("Are out-of-distribution inputs told apart?", "No such inputs were given."),
    ]
    return tuple(verdicts)


class _Split:
    """Readings of one split, with the questions that verdicts ask of them."""

    def __init__(self, name: str, results: Results, layer: str) -> None:
        self.name, self.layer = name, layer
        self.readings = results[name].get(layer, {})

    def get(self, key: str) -> Reading | None:
        reading = self.readings.get(key)
        return reading if reading is not None and reading.value is not None else None

    def value(self, key: str) -> float | None:
        reading = self.get(key)
        return None if reading is None else reading.value

    def numbers(self, *keys: str) -> tuple[Number, ...]:
        return tuple(Number(key, self.name, self.layer, self.value(key)) for key in keys)

    def span(self, key: str) -> tuple[float, float]:
        """The 95 % interval, or the value twice where there is none."""
        reading = self.get(key)
        assert reading is not None and reading.value is not None
        return reading.interval or (reading.value, reading.value)

    def resolved(self) -> bool | None:
        """Whether class share lies clear of shuffled labels; None where that is not known."""
        share = self.get("class_share")
        if share is None or share.null is None:
            return None
        return self.span("class_share")[0] > share.null.high

    def at_floor(self) -> bool:
        reading = self.get("nc1_ratio")
        if reading is None or reading.value is None or reading.floor is None:
            return False
        return reading.value <= 2 * reading.floor


def _unmeasured(question: str, sentence: str) -> Verdict:
    return Verdict(question, "not measured", sentence)


def _percent(value: float) -> str:
    digits = 2 if abs(value) > 0.995 or abs(value) < 0.01 else 1
    return f"{100 * value:.{digits}f} %"


def _collapsed(split: _Split, question: str) -> Verdict:
    share = split.get("class_share")
    numbers = split.numbers("class_share", "nc1_fisher", "nc1_ratio")
    if share is None or share.value is None:
        return Verdict(
            question,
            "cannot tell",
            "Every sample is a class of its own or only one class is present, so spread within "
            "classes is unknown.",
            numbers,
        )
    low, high = split.span("class_share")
    said = f"The class explains {_percent(share.value)} of the feature variance on {split.name}"
    if share.null is not None:
        said += f" (shuffled labels: {_percent(share.null.mean)})"
    if split.resolved() is False:
        return Verdict(question, "cannot tell", f"{said}: not told apart from chance.", numbers)
    cut = cuts()
    if split.at_floor():
        return Verdict(
            question,
            "yes",
            f"{said}, at the precision floor: deeper collapse cannot be seen in this dtype.",
            numbers,
        )
    if low >= cut["share_yes"]:
        return Verdict(question, "yes", f"{said}.", numbers)
    if high >= cut["share_partly"]:
        return Verdict(
            question, "partly", f"{said}; {_percent(cut['share_yes'])} is the cut.", numbers
        )
    return Verdict(question, "no", f"{said}.", numbers)


def _unresolved(split: _Split) -> str | None:
    """Why NC2 and NC3 cannot be judged, or None."""
    state = split.resolved()
    if state is None:
        return "Spread within classes was not compared with shuffled labels"
    if not state:
        return "Class means are not told apart from noise"
    return None


def _frame(split: _Split, num_classes: int, num_features: int) -> Verdict:
    question = "Do the class means form a simplex?"
    keys = ("nc2_etf_means", "nc2_angle_ratio", "nc2_orthogonal_means", "nc2_gof_means")
    etf, ratio = split.get("nc2_etf_means"), split.get("nc2_angle_ratio")
    if etf is None or ratio is None or etf.value is None or ratio.value is None:
        return Verdict(
            question, "cannot tell", "The class means could not be compared with a frame."
        )
    numbers = split.numbers(*(key for key in keys if split.get(key) is not None))
    reason = _unresolved(split)
    if reason is not None:
        return Verdict(question, "cannot tell", f"{reason}, so their frame says nothing.", numbers)
    if num_classes > num_features + 1:
        return Verdict(
            question,
            "no",
            f"A simplex of {num_classes} classes does not fit into {num_features} features: the "
            f"distance {etf.value:.3f} cannot fall below {etf.floor or 0:.3f}; angles are "
            f"{ratio.value:.2f} of random ones.",
            numbers,
        )
    cut = cuts()
    random = "" if etf.null is None else f" (random directions: {etf.null.mean:.2f})"
    said = (
        f"Centred means lie {etf.value:.3f} from a simplex{random}, their angles at "
        f"{ratio.value:.2f} of random ones"
    )
    answer = _band(
        [(split.span("nc2_angle_ratio")[1], "angle"), (split.span("nc2_etf_means")[1], "frame")]
    )
    if answer == "no":
        return Verdict(question, "no", f"{said}.", numbers)
    # Centred orthogonal rows of equal length are a simplex too: raw rows decide between the two.
    sides = [key for key in ("nc2_orthogonal_means", "nc2_orthogonal_weights") if split.get(key)]
    raw = max(split.value(key) or 0.0 for key in sides) if sides else None
    what = "raw means and weights" if len(sides) == 2 else "raw means"
    # A simplex itself reads √(2 - 2√(1 - 1/K)) there; orthogonal means at most half of that.
    simplex = math.sqrt(2 - 2 * math.sqrt(1 - 1 / num_classes))
    if raw is not None and raw < simplex * cut["orthogonal_share"]:
        said += f"; but {what} are orthogonal ({raw:.3f}): an orthogonal frame, not a simplex"
        return Verdict(question, "no", f"{said}.", numbers)
    if raw is not None:
        said += f"; {what} are not orthogonal ({raw:.2f}, a simplex reads {simplex:.2f})"
    return Verdict(question, answer, f"{said}.", numbers)


def _band(tests: Sequence[tuple[float, str]]) -> str:
    """yes when every upper end is below its cut, partly below the wider one, else no."""
    cut = cuts()
    if all(value < cut[f"{name}_yes"] for value, name in tests):
        return "yes"
    return "partly" if all(value < cut[f"{name}_partly"] for value, name in tests) else "no"


def _dual(split: _Split) -> Verdict:
    question = "Is the head dual to the class means?"
    reading = split.get("nc3_alignment")
    if reading is None or reading.value is None:
        return _unmeasured(question, "No classifier weight was given; pass weight (classes, dim).")
    numbers = split.numbers("nc3_alignment", "nc3_duality")
    reason = _unresolved(split)
    if reason is not None:
        return Verdict(question, "cannot tell", f"{reason}, so duality says nothing.", numbers)
    low, high = split.span("nc3_alignment")
    random = "" if reading.null is None else f" (random rows: {reading.null.mean:.2f})"
    said = f"Classifier rows and class means meet at a mean cosine of {reading.value:.3f}{random}."
    cut = cuts()
    answer = "yes" if low >= cut["alignment_yes"] else "partly"
    return Verdict(question, answer if high >= cut["alignment_partly"] else "no", said, numbers)


def _nearest(split: _Split) -> Verdict:
    question = "Does the head decide like the nearest class centre?"
    reading = split.get("nc4_mismatch")
    if reading is None or reading.value is None:
        return _unmeasured(question, "No classifier weight was given, or decisions were left out.")
    low, high = split.span("nc4_mismatch")
    guess = "" if reading.null is None else f" (independent guesses: {_percent(reading.null.mean)})"
    said = (
        f"They differ on {_percent(reading.value)} of {reading.n} samples of {split.name}{guess}."
    )
    cut = cuts()
    answer = "yes" if high <= cut["mismatch_yes"] else "partly"
    numbers = split.numbers("nc4_mismatch", "accuracy", "ncc_accuracy")
    return Verdict(question, answer if low <= cut["mismatch_partly"] else "no", said, numbers)


def _minority(split: _Split, classes: Sequence[ClassRow]) -> Verdict:
    question = "Are small classes at risk of merging?"
    rows = [row for row in classes if (row.split, row.layer) == (split.name, split.layer)]
    if len(rows) < 3:
        return _unmeasured(question, "Fewer than three classes are present.")
    counts = sorted(row.count for row in rows)
    ratio = counts[-1] / counts[0]
    cut = cuts()
    if ratio < cut["imbalance"]:
        return Verdict(
            question,
            "no",
            f"Classes are balanced ({counts[0]} to {counts[-1]} samples): none is small.",
        )
    middle = median(counts)
    small = [row for row in rows if row.count < middle] or [
        row for row in rows if row.count <= middle
    ]
    large = [row for row in rows if row.count > middle] or [
        row for row in rows if row.count >= middle
    ]
    share = median(row.distance for row in small) / max(
        median(row.distance for row in large), 1e-300
    )
    said = (
        f"Counts range from {counts[0]} to {counts[-1]}; the smaller classes lie {share:.2f} as "
        "far from their nearest neighbour as the larger ones"
    )
    numbers = split.numbers("nc1_cdnv", "nc2_equinorm_means")
    reason = _unresolved(split)
    if reason is not None:
        return Verdict(question, "cannot tell", f"{said}, but means are not resolved.", numbers)
    answer = "yes" if share < cut["minority_close"] else "no"
    if answer == "no" and share < cut["minority_partly"]:
        answer = "partly"
    return Verdict(question, answer, f"{said}.", numbers)


def _terminal(trace: Trace | None, layer: str) -> Verdict:
    question = "In the terminal phase?"
    if trace is None or not trace.rows:
        return _unmeasured(
            question, "That needs readings along training: follow a run with nc.Tracker."
        )
    found = terminal_phase(trace, layer=layer)
    if found is None:
        return _unmeasured(question, "The trace holds no training error, nor accuracy on train.")
    if found.start is None:
        return Verdict(
            question,
            "no",
            f"Training error is {_percent(found.last_error)} at the last reading ({found.last}).",
        )
    said = f"Training error stays at zero from {found.start} to {found.last}"
    change = found.changes.get("nc1_fisher")
    numbers: tuple[Number, ...] = ()
    if change is not None:
        said += f"; NC1 went from {change.first:.3g} to {change.last:.3g} since"
        numbers = (Number("nc1_fisher", "train", layer, change.last),)
    if found.readings < 2:
        return Verdict(question, "partly", f"{said}: it has only begun.", numbers)
    return Verdict(question, "yes", f"{said}.", numbers)
