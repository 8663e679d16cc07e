"""What a report says beside the verdicts: what it means, what to do next, what stayed open."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ncollapse.answers.cuts import calibrated
from ncollapse.answers.headline import headline as asked
from ncollapse.answers.question import NOT_MEASURED
from ncollapse.answers.questions import identified, question_of, questions, verdict_on
from ncollapse.metrics.catalog import METRICS
from ncollapse.record.document import USUAL, Document
from ncollapse.record.readings import HEAD, ClassRow, Reading, Verdict
from ncollapse.record.run import Run
from ncollapse.report.terminal import number

UNCALIBRATED = (
    "The cuts between yes, partly and no are judgements for this task: not calibrated on models."
)
# A null below this is rounding: the reading is ideal by construction (two classes).
TRIVIAL = 1e-9
# So many rows of classes at most; their file beside the table has all.
LISTED = 1000


@dataclass(frozen=True)
class Card:
    """A verdict as the first screen shows it, with what lies behind its first number."""

    verdict: Verdict
    state: str
    value: str
    comparator: str
    key: str
    formula: str
    meaning: str
    source: str
    definition: str
    n: int
    basis: str = ""


def sentence(document: Document, *ids: str) -> str:
    """The sentence of the first question (by id) that has a verdict, else of the first verdict."""
    for name in ids:
        verdict = verdict_on(document, name)
        if verdict is not None:
            return verdict.sentence
    return document.verdicts[0].sentence if document.verdicts else "No verdict was written."


def _of_attack(document: Document, verdict: Verdict) -> bool:
    """Whether a verdict is about a split that an attack made, which has a section of its own."""
    split = identified(verdict).partition(":")[2]
    return split in document.results and split not in document.given_splits


def kind(key: str) -> str:
    """percent or number, as the catalog says."""
    row = METRICS.get(key)
    return "number" if row is None else row.unit


@dataclass(frozen=True)
class Headline:
    """The head of the page: a sentence, and the number that it begins with, with what that is."""

    sentence: str
    value: str
    label: str
    compared: str


def headline(run: Run) -> Headline:
    """What the answers come to, in one sentence and one number."""
    document = run.document
    found = asked(document, run.classes)
    first = found.number
    if first is None:
        return Headline(found.sentence, "", "", "")
    reading = document.results.get(first.split, {}).get(first.layer, {}).get(first.key)
    row = METRICS.get(first.key)
    return Headline(
        found.sentence,
        number(first.value, kind(first.key)),
        f"{first.key if row is None else row.title} on {first.split}",
        _compared(first.key, reading),
    )


def _compared(key: str, reading: Reading | None) -> str:
    """What noise would read."""
    if reading is None or reading.null is None or abs(reading.null.mean) <= TRIVIAL:
        return ""
    return f"noise {number(reading.null.mean + 0.0, kind(key))}".replace("-0.00", "0.00")


def cards(document: Document) -> list[Card]:
    """Verdicts in their order, each with number, comparator and what the number is."""
    found = []
    for verdict in document.verdicts:
        if _of_attack(document, verdict):
            continue
        first = next((n for n in verdict.numbers if n.value is not None), None)
        reading: Reading | None = None
        if first is not None:
            reading = document.results.get(first.split, {}).get(first.layer, {}).get(first.key)
        row = None if first is None else METRICS.get(first.key)
        found.append(
            Card(
                verdict,
                verdict.answer.replace(" ", "-"),
                "" if first is None else number(first.value, kind(first.key)),
                "" if first is None else _compared(first.key, reading),
                "" if first is None else first.key,
                "" if row is None else row.formula,
                "" if row is None else row.meaning,
                "" if row is None else row.source,
                "" if reading is None else reading.definition,
                0 if reading is None else reading.n,
                "" if (question := question_of(verdict)) is None else question.basis,
            )
        )
    return found


def meaning(document: Document) -> list[str]:
    """Sentences made of the answers, without new claims: each question has its phrases."""
    if (document.config.get("task") or {}).get("name") == "ordinal":
        rest = ("ordinal_line", "ordinal_order", "ordinal_places")
        return [
            _about_spread(document, "ordinal_spread"),
            "".join(_phrase(document, name) for name in rest),
        ]
    if document.task != USUAL:
        return _in_turn(document)
    return [
        _about_spread(document),
        _crowded(document) + _phrase(document, "frame") + _phrase(document, "dual"),
        _phrase(document, "nearest") + _phrase(document, "minority"),
    ]


def _crowded(document: Document) -> str:
    """What comes first where a simplex cannot be."""
    return "" if verdict_on(document, "code") is None else _phrase(document, "code")


def _in_turn(document: Document) -> list[str]:
    """The phrase of each answer in the order of the questions, each a sentence."""
    said = []
    for verdict in document.verdicts:
        name, _, split = identified(verdict).partition(":")
        question = questions().get(name)
        phrase = "" if question is None else question.phrases.get(verdict.answer, "")
        if phrase:
            said.append(phrase.format(split=split) + ".")
    return said


def _phrase(document: Document, name: str, split: str = "", *, other: bool = False) -> str:
    """What a question's answer says in running text."""
    question = questions()[name]
    verdict = verdict_on(document, f"{name}:{split}" if split else name)
    answer = NOT_MEASURED if verdict is None else verdict.answer
    return (question.others if other else question.phrases)[answer].format(split=split)


def _about_spread(document: Document, asked: str = "collapsed") -> str:
    names = document.given_splits
    first = document.reference
    said = _phrase(document, asked, first)
    for name in names:
        if name != first:
            said += _phrase(document, asked, name, other=True)
    if len(names) == 1:
        said += "; samples that were held out were not looked at"
    return said + "."


def steps(document: Document, path: Path | None) -> list[tuple[str, str]]:
    """At most three commands to paste, each with why."""
    place = shlex.quote("RUN_FOLDER" if path is None else str(path))
    found: list[tuple[str, str]] = []
    open_one = next(
        (v for a in ("cannot tell", "no", "partly") for v in document.verdicts
         if v.answer == a and v.numbers and identified(v) != "minority"),
        None,
    )  # fmt: skip
    if open_one is not None:
        found.append(
            (
                f"ncollapse explain {shlex.quote(open_one.numbers[0].key)}",
                f"What the number behind “{open_one.question}” ({open_one.answer}) is.",
            )
        )
    if document.task == "weights":
        found.append(
            (
                "ncollapse measure --model timm:NAME --weights best.pt --data imagefolder:data/",
                "With data: whether features have collapsed, and whether the rows follow them.",
            )
        )
    elif len(document.results) < 2:
        found.append(
            (
                "ncollapse measure features.npz --output both/",
                "With a split array in the file: held-out samples beside the training ones.",
            )
        )
    limits = _limits(document)
    if limits:
        found.append((f"ncollapse check {place} {limits}", "Fails when a later run falls behind."))
    found.append((f"ncollapse compare {place} OTHER_RUN", "Reading by reading against a run."))
    return found[:3]


def _limits(document: Document) -> str:
    train = document.reference
    readings = document.results.get(train, {}).get(document.layer, {})
    said = []
    share = readings.get("class_share")
    if share is not None and share.value is not None and share.value > 0:
        low = share.value if share.interval is None else share.interval[0]
        said.append(f"--min class_share={max(math.floor(100 * low) / 100, 0):.2f}")
    mismatch = readings.get("nc4_mismatch")
    if mismatch is not None and mismatch.value is not None:
        high = mismatch.value if mismatch.interval is None else mismatch.interval[1]
        said.append(f"--max nc4_mismatch={math.ceil(1000 * high + 1e-9) / 1000:g}")
    return " ".join(said)


def unknown(document: Document) -> list[tuple[str, str]]:
    """Questions without an answer, with why; and what holds for every report."""
    found = [
        (v.question, v.sentence)
        for v in document.verdicts
        if v.answer in ("cannot tell", "not measured")
    ]
    held = calibrated() if document.task == USUAL else UNCALIBRATED
    found.append(("Where do the answers change?", held))
    return found


def worst(
    rows: Sequence[ClassRow], split: str, layer: str = HEAD, count: int = LISTED
) -> list[ClassRow]:
    """The classes widest for the distance to their nearest neighbour."""
    mine = [row for row in rows if row.split == split and row.layer == layer]
    return sorted(
        mine, key=lambda row: -(row.within / row.distance**2 if row.distance > 0 else math.inf)
    )[:count]
