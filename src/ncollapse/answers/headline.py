"""One sentence and one number for the head of a report, put together from the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ncollapse.answers.question import CANNOT_TELL, NO, PARTLY, YES, Asking, Question
from ncollapse.answers.questions import identified, questions
from ncollapse.record.document import Document
from ncollapse.record.readings import ClassRow, Number, Verdict

# What is said of the further splits, after the words of the first ones.
FURTHER = {YES: "fully on", PARTLY: "partly on", NO: "not on", CANNOT_TELL: "open on"}


@dataclass(frozen=True)
class Headline:
    """sentence: what the answers come to, without its full stop. number: the first reading that the
    first answer rests on; None where there is none."""

    sentence: str
    number: Number | None


def headline(document: Document, classes: Sequence[ClassRow] = ()) -> Headline:
    """The headline of a document, by the words that its questions have for their answers. classes:
    rows of classes, for questions that count them."""
    asking = Asking(
        document.results,
        classes,
        document.num_classes,
        document.num_features,
        document.layer,
        chosen=document.reference,
    )
    given = set(document.given_splits)
    answered: dict[str, list[tuple[str, Verdict]]] = {}
    for verdict in document.verdicts:
        name, _, split = identified(verdict).partition(":")
        if name in questions() and (not split or split in given):
            answered.setdefault(name, []).append((split, verdict))
    said = [_words(questions()[name], found, asking) for name, found in answered.items()]
    sentence = "; ".join(part for part in said if part)
    if not sentence and document.verdicts:
        first = document.verdicts[0]
        sentence = f"{first.question} {first.answer}"
    sentence = sentence[:1].upper() + sentence[1:]
    numbers = [n for verdict in document.verdicts for n in verdict.numbers if n.value is not None]
    return Headline(sentence or "No answer was written", numbers[0] if numbers else None)


def _words(question: Question, found: list[tuple[str, Verdict]], asking: Asking) -> str:
    """What one question comes to, its splits put together by their answers."""
    groups: dict[str, list[str]] = {}
    for split, verdict in found:
        groups.setdefault(verdict.answer, []).append(split)
    parts: list[str] = []
    for answer, splits in groups.items():
        words = question.headline.get(answer, "")
        if not words:
            continue
        named = " and ".join(splits)
        if parts:
            parts.append(f"{FURTHER[answer]} {named}")
        elif question.share is None:
            parts.append(words.format(splits=named))
        else:
            some, among = question.share(asking, asking.reference)
            parts.append(words.format(splits=named, some=some, all=among) if some else "")
    return ", ".join(part for part in parts if part)
