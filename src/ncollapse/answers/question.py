"""Question: what a reader asks, by what rule and readings it is answered, and in what words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ncollapse.answers.cuts import cuts as cuts
from ncollapse.record.readings import (
    ClassRow,
    Number,
    Reading,
    Results,
    Verdict,
    reference_of,
)
from ncollapse.record.trace import Trace

YES, PARTLY, NO = "yes", "partly", "no"
CANNOT_TELL, NOT_MEASURED = "cannot tell", "not measured"


class Seen:
    """Readings of one split of the layer that is asked about."""

    def __init__(self, name: str, results: Results, layer: str) -> None:
        self.name, self.layer = name, layer
        self.readings = results[name].get(layer, {})

    def get(self, key: str) -> Reading | None:
        """A reading that has a value."""
        reading = self.readings.get(key)
        return reading if reading is not None and reading.value is not None else None

    def value(self, key: str) -> float | None:
        reading = self.get(key)
        return None if reading is None else reading.value

    def numbers(self, *keys: str) -> tuple[Number, ...]:
        return tuple(Number(key, self.name, self.layer, self.best(key)) for key in keys)

    def best(self, key: str) -> float | None:
        """The population value, or the reading where that is not known."""
        reading = self.get(key)
        return None if reading is None else reading.best

    def span(self, key: str) -> tuple[float, float]:
        """The 95 % interval, or the best value twice where there is none."""
        reading = self.get(key)
        assert reading is not None and reading.best is not None
        return reading.interval or (reading.best, reading.best)

    def at_floor(self, key: str) -> bool:
        """Whether a reading lies below twice what dtype, dimensions and sampling leave."""
        reading = self.get(key)
        if reading is None or reading.value is None or reading.floor is None:
            return False
        return reading.value <= 2 * reading.floor


@dataclass(frozen=True)
class Asking:
    """What answers are made of: readings by split and layer, rows of classes, sizes, the layer that
    is asked about, readings along training, the reference split if one was chosen, how many
    directions the class means span, if that is known, what foreign data said, what a target set
    of other classes found (`Document.transfer`), and what was read of other data
    (`Document.downstream`)."""

    results: Results
    classes: Sequence[ClassRow]
    num_classes: int
    num_features: int
    layer: str = "head"
    trace: Trace | None = None
    chosen: str | None = None
    directions: int | None = None
    ood: Mapping[str, Any] = field(default_factory=dict)
    transfer: Mapping[str, Any] = field(default_factory=dict)
    downstream: Mapping[str, Any] = field(default_factory=dict)

    def headless(self, seen: Seen) -> bool:
        """Whether no classifier was measured beside the features."""
        return "nc3_duality" not in seen.readings

    @cached_property
    def reference(self) -> Seen:
        """The reference split: the one asked for, else `train`, else the first one given."""
        return Seen(reference_of(self.results, self.chosen), self.results, self.layer)

    def rows(self, seen: Seen) -> list[ClassRow]:
        """Rows of the classes that are present in a split."""
        return [row for row in self.classes if (row.split, row.layer) == (seen.name, seen.layer)]

    def crowded(self, seen: Seen) -> bool:
        """Whether more classes are present than a simplex in their directions can hold."""
        room = min(self.num_features, self.directions or self.num_features)
        return self.present(seen) > room + 1

    def present(self, seen: Seen) -> int:
        """How many classes have samples there; all of them where no rows tell."""
        return len(self.rows(seen)) or self.num_classes

    @cached_property
    def others(self) -> list[Seen]:
        names = [name for name in self.results if name != self.reference.name]
        return [Seen(name, self.results, self.layer) for name in names]


@dataclass(frozen=True)
class Answer:
    """yes, partly, no, cannot tell or not measured; a sentence; the numbers that it rests on."""

    answer: str
    sentence: str
    numbers: tuple[Number, ...] = ()


def on_splits(what: str) -> dict[str, str]:
    """The headline of a question that is asked of every split."""
    return {
        YES: f"{what} on {{splits}}",
        PARTLY: f"partly {what} on {{splits}}",
        NO: f"not {what} on {{splits}}",
        CANNOT_TELL: f"whether {what} on {{splits}} cannot be told",
    }


@dataclass(frozen=True)
class Question:
    """One question. id: the same in every version, in JSON too; the text may change.

    rank: its place among those of its task. text: may hold {split}; such a question is asked of
    every split, under the id `id:split`. needs: the readings that the rule looks at. rule: (what
    is known, the split) → Answer. phrases: by answer, what a report says in running text; others:
    the same of a split that is not the reference; unasked: why a second split has no answer;
    crowded: asked only where more classes are present than a simplex can hold; asked: only where
    this holds, None where always. basis: what an answer without numbers rests on. headline: by
    answer, the few words that the head of a report says of it, none where it says nothing; may
    hold {splits} where it is asked of each, and {some} and {all} where `share` counts them.
    """

    id: str
    rank: int
    text: str
    needs: tuple[str, ...]
    rule: Callable[[Asking, Seen], Answer]
    phrases: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    unasked: str = ""
    task: str = "classification"
    several_layers: bool = False
    crowded: bool = False
    asked: Callable[[Asking], bool] | None = None
    basis: str = "Class counts alone; no reading was needed."
    headline: Mapping[str, str] = field(default_factory=dict)
    share: Callable[[Asking, Seen], tuple[int, int]] | None = None

    @property
    def each_split(self) -> bool:
        return "{split}" in self.text

    def answered(self, asking: Asking) -> list[Verdict]:
        """The verdicts, one for every split that it is asked of; none where it is not asked."""
        if self.crowded and not asking.crowded(asking.reference):
            return []
        if self.asked is not None and not self.asked(asking):
            return []
        if self.several_layers and len(asking.results[asking.reference.name]) < 2:
            return []
        if not self.each_split:
            return [self._verdict(asking, asking.reference, self.id, self.text)]
        found = [
            self._verdict(asking, seen, f"{self.id}:{seen.name}", self.text.format(split=seen.name))
            for seen in (asking.reference, *asking.others)
        ]
        if not asking.others and self.unasked:
            # What the usual second split would tell is said to be missing.
            text = self.text.format(split="test")
            found.append(Verdict(text, NOT_MEASURED, self.unasked, (), f"{self.id}:test"))
        return found

    def _verdict(self, asking: Asking, seen: Seen, name: str, text: str) -> Verdict:
        said = self.rule(asking, seen)
        return Verdict(text, said.answer, said.sentence, said.numbers, name)


def percent(value: float) -> str:
    """A share with as many digits as tell it from 0 and 1."""
    digits = 2 if abs(value) > 0.995 or abs(value) < 0.01 else 1
    # Adding 0 takes the sign from a rounded -0.
    return f"{round(100 * value, digits) + 0:.{digits}f} %"


def unresolved(seen: Seen) -> str | None:
    """Why NC2 and NC3 cannot be judged, or None: nothing is said about them unless variability
    within classes is resolved from shuffled labels."""
    state = resolved(seen)
    if state is None:
        return "Spread within classes was not compared with shuffled labels"
    return None if state else "Class means are not told apart from noise"


def resolved(seen: Seen) -> bool | None:
    """Whether class share lies clear of shuffled labels; None where that is not known."""
    share = seen.get("class_share")
    if share is None or share.null is None:
        return None
    if share.interval is None and share.estimate is None and share.value is not None:
        return share.value > share.null.high
    return seen.span("class_share")[0] > share.null.high
