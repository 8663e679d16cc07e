"""All questions by id, found by listing this folder, and the verdicts on a measurement."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import ncollapse.answers
from ncollapse.answers.question import Asking, Question
from ncollapse.record.document import Document
from ncollapse.record.readings import ClassRow, Results, Verdict
from ncollapse.record.trace import Trace


@cache
def questions() -> dict[str, Question]:
    """Every question of a file of this folder that holds QUESTIONS, by id."""
    modules = [
        import_module(f"ncollapse.answers.{found.name}")
        for found in iter_modules(ncollapse.answers.__path__)
        if found.name != "questions"
    ]
    return {q.id: q for module in modules for q in getattr(module, "QUESTIONS", ())}


def judge(
    results: Results,
    classes: Sequence[ClassRow],
    *,
    num_classes: int,
    num_features: int,
    layer: str = "head",
    trace: Trace | None = None,
    task: str = "classification",
    reference: str | None = None,
    directions: int | None = None,
) -> tuple[Verdict, ...]:
    """Answers to what users of a task ask, in a fixed order, about one layer. directions: how many
    the class means of the reference split span."""
    asking = Asking(
        results, classes, num_classes, num_features, layer, trace, reference, directions
    )
    asked = sorted((q for q in questions().values() if q.task == task), key=lambda q: q.rank)
    return tuple(verdict for question in asked for verdict in question.answered(asking))


def answered_again(document: Document, name: str) -> tuple[Verdict, ...]:
    """The verdicts of a document, with the question of this id answered anew, or for the first
    time, from what it holds of other data; unchanged where its task does not ask it."""
    asking = Asking(
        document.results,
        (),
        document.num_classes,
        document.num_features,
        document.layer,
        chosen=document.reference,
        ood=document.ood,
        transfer=document.transfer,
        downstream=document.downstream,
    )
    if questions()[name].task != document.task:
        return document.verdicts
    (answer,) = questions()[name].answered(asking)
    if all(verdict.id != name for verdict in document.verdicts):
        return (*document.verdicts, answer)
    return tuple(answer if verdict.id == name else verdict for verdict in document.verdicts)


def question_of(verdict: Verdict) -> Question | None:
    """The question that a verdict answers; by its text in documents older than ids."""
    known = questions()
    if verdict.id:
        return known.get(verdict.id.partition(":")[0])
    for question in known.values():
        pattern = re.escape(question.text).replace(re.escape("{split}"), ".+")
        if re.fullmatch(pattern, verdict.question):
            return question
    return None


def identified(verdict: Verdict) -> str:
    """The id of a verdict; worked out from its text in documents older than ids."""
    if verdict.id:
        return verdict.id
    question = question_of(verdict)
    if question is None:
        return ""
    before, split, after = question.text.partition("{split}")
    if not split:
        return question.id
    return f"{question.id}:{verdict.question.removeprefix(before).removesuffix(after)}"


def verdict_on(document: Document, name: str) -> Verdict | None:
    """The verdict of an id, of its first split where it is asked of several; None where it was not
    asked."""
    for verdict in document.verdicts:
        found = identified(verdict)
        if found == name or found.partition(":")[0] == name:
            return verdict
    return None


def shared(first: Document, second: Document) -> list[tuple[str, Verdict, Verdict]]:
    """(id, verdict, verdict) of the questions that both documents answer."""
    theirs = {identified(verdict): verdict for verdict in second.verdicts}
    mine = [(identified(verdict), verdict) for verdict in first.verdicts]
    return [(name, verdict, theirs[name]) for name, verdict in mine if name in theirs]
