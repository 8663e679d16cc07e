"""What a run says: readings with their comparators, answers, and rows of classes. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ncollapse.record.checks import number, numbers, record, records, text, whole

# The layer of the features that enter the classifier.
HEAD = "head"
ANSWERS = ("yes", "partly", "no", "cannot tell", "not measured")
# What came of a law of training.
AGREES, BREAKS, NO_LAW = "agrees", "breaks", "does not apply"


@dataclass(frozen=True)
class Null:
    """What a metric reads where there is nothing to read: mean and central 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Reading:
    """One metric on one split and layer, with its comparators.

    value: the published definition on the samples, None where it could not be read. estimate: the
    population value, free of the bias of sampling. interval: 95 %, of the estimate, over draws of
    the data with the network fixed. null: see `Null`. floor: smallest value that the dtype, the
    dimensions or sampling allow. n: samples. definition: the variant.
    """

    value: float | None
    null: Null | None = None
    floor: float | None = None
    interval: tuple[float, float] | None = None
    ideal: float | None = None
    n: int = 0
    definition: str = "default"
    estimate: float | None = None

    @property
    def best(self) -> float | None:
        """The estimate where there is one, else the value."""
        return self.value if self.estimate is None else self.estimate

    def __float__(self) -> float:
        """The value; NaN where it could not be read."""
        return math.nan if self.value is None else self.value

    def to_dict(self) -> dict[str, Any]:
        found = asdict(self)
        found["interval"] = None if self.interval is None else list(self.interval)
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reading:
        """Rebuild; ValueError names a field of another type."""
        null = data.get("null")
        if null is not None:
            null = record(data, "null")
            null = Null(*(number(null, name) or 0.0 for name in ("mean", "low", "high")))
        interval = None if data.get("interval") is None else numbers(data, "interval", 2)
        return cls(
            value=number(data, "value"),
            null=null,
            floor=number(data, "floor", None),
            interval=None if interval is None else (interval[0], interval[1]),
            ideal=number(data, "ideal", None),
            n=whole(data, "n", 0),
            definition=text(data, "definition", "default"),
            estimate=number(data, "estimate", None),
        )


@dataclass(frozen=True)
class Number:
    """A value that a verdict rests on."""

    key: str
    split: str
    layer: str
    value: float | None


@dataclass(frozen=True)
class Verdict:
    """An answer in plain words: yes, partly, no, cannot tell or not measured.

    id: of the question, the same in every version; empty in documents from before it was written.
    """

    question: str
    answer: str
    sentence: str
    numbers: tuple[Number, ...] = ()
    id: str = ""

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise ValueError(
                f"answer {self.answer!r} is unknown; one of {', '.join(ANSWERS)} is needed"
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """Rebuild; ValueError names a field of another type."""
        found = tuple(
            Number(text(n, "key"), text(n, "split"), text(n, "layer"), number(n, "value"))
            for n in records(data, "numbers")
        )
        question, answer, sentence = (text(data, n) for n in ("question", "answer", "sentence"))
        return cls(question, answer, sentence, found, text(data, "id", ""))


Results = dict[str, dict[str, dict[str, Reading]]]


@dataclass(frozen=True)
class ClassRow:
    """One class on one split and layer. norm: ‖m_c‖ of the centred mean; within: v_c; nearest and
    distance: the closest other class mean; cosine: between w_c and m_c; accuracy: of the head;
    share: the least that means explain of the squared distance to a sample of another class,
    `rival`, free of the noise of the means where that is known; rank: in how many directions its
    samples differ (`ncollapse.metrics.class_rank`), where single samples were kept."""

    split: str
    layer: str
    name: str
    index: int
    count: int
    norm: float
    within: float
    nearest: str
    distance: float
    cosine: float | None = None
    accuracy: float | None = None
    share: float | None = None
    rival: str = ""
    rank: float | None = None


def reference_of(splits: Iterable[str], chosen: str | None = None) -> str:
    """The split whose means decide and of which verdicts speak: the one chosen, else `train`, else
    the first."""
    names = list(splits)
    if chosen is not None and chosen in names:
        return chosen
    return "train" if "train" in names else names[0]
