"""What a report says beside the verdicts: what it means, what to do next, what stayed open."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ncollapse.record.document import Document
from ncollapse.record.readings import ClassRow, Reading, Verdict
from ncollapse.report.terminal import LAYER, number

PERCENT = ("class_share", "accuracy", "ncc_accuracy", "nc4_mismatch")
# A null below this is rounding: the reading is ideal by construction (two classes).
TRIVIAL = 1e-9
FRAME = "Do the class means form a simplex?"
DUAL = "Is the head dual to the class means?"
NEAREST = "Does the head decide like the nearest class centre?"
MINORITY = "Are small classes at risk of merging?"
PHASE = "In the terminal phase?"


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


def find(document: Document, question: str) -> Verdict | None:
    """The verdict on a question, None where it was not asked."""
    return next((v for v in document.verdicts if v.question == question), None)


def sentence(document: Document, *questions: str) -> str:
    """The sentence of the first question that has a verdict, else of the first verdict."""
    for question in questions:
        verdict = find(document, question)
        if verdict is not None:
            return verdict.sentence
    return document.verdicts[0].sentence if document.verdicts else "No verdict was written."


def kind(key: str) -> str:
    return "percent" if key in PERCENT else "number"


def cards(document: Document) -> list[Card]:
    """Verdicts in their order, each with number, comparator and what the number is."""
    from ncollapse.metrics.catalog import METRICS

    found = []
    for verdict in document.verdicts:
        first = next((n for n in verdict.numbers if n.value is not None), None)
        reading: Reading | None = None
        if first is not None:
            reading = document.results.get(first.split, {}).get(first.layer, {}).get(first.key)
        row = None if first is None else METRICS.get(first.key)
        compared = ""
        if reading and first and reading.null and abs(reading.null.mean) > TRIVIAL:
            compared = f"noise {number(reading.null.mean + 0.0, kind(first.key))}"
            compared = compared.replace("-0.00", "0.00")
        found.append(
            Card(
                verdict,
                verdict.answer.replace(" ", "-"),
                "" if first is None else number(first.value, kind(first.key)),
                compared,
                "" if first is None else first.key,
                "" if row is None else row.formula,
                "" if row is None else row.meaning,
                "" if row is None else row.source,
                "" if reading is None else reading.definition,
                0 if reading is None else reading.n,
            )
        )
    return found


def meaning(document: Document) -> list[str]:
    """Three sentences made of the answers, without new claims."""
    return [_about_spread(document), _about_frame(document), _about_decisions(document)]


def _answer(document: Document, question: str) -> str:
    verdict = find(document, question)
    return "not measured" if verdict is None else verdict.answer


def _about_spread(document: Document) -> str:
    names = list(document.results)
    train = "train" if "train" in names else next(iter(names), "train")
    said = {
        "yes": f"On {train}, samples lie near their class mean for how far means lie apart",
        "partly": f"On {train}, classes stand apart, yet part of the variance is inside them",
        "no": f"On {train}, most of the variance still lies inside the classes",
        "cannot tell": f"On {train}, it cannot be told whether classes differ from chance",
        "not measured": "Spread within the classes was not measured",
    }[_answer(document, f"Collapsed on {train}?")]
    for name in names:
        if name == train:
            continue
        said += {
            "yes": f", and on {name} as well",
            "partly": f"; on {name} only in part",
            "no": f"; on {name} most of it lies inside the classes",
            "cannot tell": f"; on {name} it cannot be told",
            "not measured": "",
        }[_answer(document, f"Collapsed on {name}?")]
    if len(names) == 1:
        said += "; samples that were held out were not looked at"
    return said + "."


def _about_frame(document: Document) -> str:
    frame = {
        "yes": "The class means stand as a simplex, all at equal angles",
        "partly": "The class means are near a simplex, though not on it",
        "no": "The class means do not stand as a simplex",
        "cannot tell": "How the class means stand to one another cannot be told",
        "not measured": "How the class means stand to one another was not measured",
    }[_answer(document, FRAME)]
    return (
        frame
        + {
            "yes": ", and each row of the classifier points along its class mean.",
            "partly": ", and the rows of the classifier follow them roughly.",
            "no": ", and the rows of the classifier point elsewhere.",
            "cannot tell": ", nor can it be told whether the classifier follows them.",
            "not measured": "; the classifier was not compared with them.",
        }[_answer(document, DUAL)]
    )


def _about_decisions(document: Document) -> str:
    nearest = {
        "yes": "The head decides as the nearest class centre would",
        "partly": "The head mostly decides as the nearest class centre would",
        "no": "The head decides otherwise than the nearest class centre",
        "cannot tell": "Whether the head decides like the nearest class centre cannot be told",
        "not measured": "The decisions of a head were not looked at",
    }[_answer(document, NEAREST)]
    return (
        nearest
        + {
            "yes": ", and small classes lie close to their neighbours, at risk of merging.",
            "partly": ", and small classes lie somewhat closer to their neighbours.",
            "no": ", and no small class is at risk of merging with another.",
            "cannot tell": "; whether small classes are at risk of merging cannot be told.",
            "not measured": ".",
        }[_answer(document, MINORITY)]
    )


def steps(document: Document, path: Path | None) -> list[tuple[str, str]]:
    """At most three commands to paste, each with why."""
    place = shlex.quote("RUN_FOLDER" if path is None else str(path))
    found: list[tuple[str, str]] = []
    open_one = next(
        (v for a in ("cannot tell", "no", "partly") for v in document.verdicts
         if v.answer == a and v.numbers and v.question != MINORITY),
        None,
    )  # fmt: skip
    if open_one is not None:
        found.append(
            (
                f"ncollapse explain {shlex.quote(open_one.numbers[0].key)}",
                f"What the number behind “{open_one.question}” ({open_one.answer}) is.",
            )
        )
    if len(document.results) < 2:
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
    train = "train" if "train" in document.results else next(iter(document.results), "")
    readings = document.results.get(train, {}).get(LAYER, {})
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
    found.append(
        (
            "Where do the answers change?",
            "The cuts between yes, partly and no are provisional: they are judgements, not yet "
            "calibrated against outcomes.",
        )
    )
    return found


def worst(rows: Sequence[ClassRow], split: str, count: int = 20) -> list[ClassRow]:
    """The classes widest for the distance to their nearest neighbour."""
    mine = [row for row in rows if row.split == split and row.layer == LAYER]
    return sorted(
        mine, key=lambda row: -(row.within / row.distance**2 if row.distance > 0 else math.inf)
    )[:count]
