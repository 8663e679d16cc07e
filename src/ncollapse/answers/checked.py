"""Limits on readings, answers to questions and laws of training, held against a document.

One implementation for `ncollapse check`, which prints it and ends with 1, and for tests in Python
(`check_laws`, `Measurement.check`, `check_model`), where what fails is a `CheckError`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from ncollapse.answers.questions import identified, verdict_on
from ncollapse.errors import CheckError
from ncollapse.record.document import Document, read_document
from ncollapse.record.readings import AGREES, ANSWERS, BREAKS, NO_LAW
from ncollapse.record.trace import Trace

Wanted = tuple[str, ...]
VERDICTS = (AGREES, BREAKS, NO_LAW)
# What is kept of a law, beside its notes.
TEXTS = ("law", "answer", "sentence")
NO_LAWS = "pass optimizer=… to nc.Tracker"


@dataclass(frozen=True)
class Checked:
    """What came of it: `limits`, `answers` and `laws`, each a mapping that `holds` or not; limits
    are those of readings of one split and layer."""

    split: str
    layer: str
    limits: tuple[dict[str, Any], ...] = ()
    answers: tuple[dict[str, Any], ...] = ()
    laws: tuple[dict[str, Any], ...] = ()

    @property
    def all(self) -> tuple[dict[str, Any], ...]:
        return (*self.limits, *self.answers, *self.laws)

    @property
    def failed(self) -> tuple[dict[str, Any], ...]:
        """What does not hold."""
        return tuple(one for one in self.all if not one["holds"])

    def said(self, one: Mapping[str, Any]) -> str:
        """One of them in a line."""
        word = "holds" if one["holds"] else "FAILS"
        if "law" in one:
            return f"{word}  {one['law']} {one['answer']}: {one['sentence']}"
        if "id" in one:
            return f"{word}  {one['id']} is {' or '.join(one['wanted'])}: {one['answer']}"
        found = one["value"]
        value = "null (it could not be read)" if found is None else f"{found:.6g}"
        place = f"{self.split}/{self.layer}/{one['key']}"
        return f"{word}  {place} {one['sign']} {one['limit']:g}: {value}"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        data: dict[str, Any] = {"split": self.split, "layer": self.layer}
        data |= {"checks": list(self.limits), "holds": not self.failed}
        data |= {"answers": list(self.answers)} if self.answers else {}
        return data | ({"laws": list(self.laws)} if self.laws else {})

    def enforce(self, what: str, place: str) -> None:
        """Raises CheckError where something fails: `what` was held against `place`."""
        __tracebackhide__ = True
        failed = self.failed
        if failed:
            number, of = len(failed), len(self.all)
            told = f"{number} of {of} {what} {'fails' if number == 1 else 'fail'} in {place}"
            raise CheckError("\n".join([f"{told}:", *map(self.said, failed)]), failed)


def checked(
    document: Document,
    place: str,
    *,
    maximum: Mapping[str, float] | None = None,
    minimum: Mapping[str, float] | None = None,
    answers: Iterable[tuple[str, Wanted]] = (),
    laws: Sequence[Mapping[str, Any]] = (),
    split: str | None = None,
    layer: str | None = None,
) -> Checked:
    """Hold readings against limits by key, verdicts against the answers that are wanted of an id
    (`collapsed`, `collapsed:test`), and laws (of `laws_of`) against breaking. split, layer: of the
    readings; the reference split and the layer that answers are about unless named.

    Raises ValueError for a split, layer, key or question that is not there, with the near miss, for
    limits that are no numbers and answers that nobody gives, and where nothing is asked.
    """
    limits = [(_limits(maximum), "<="), (_limits(minimum), ">=")]
    asked = list(answers)
    if not (maximum or minimum or asked or laws):
        raise ValueError(
            "nothing is asked of it; a limit of a reading (maximum, minimum), an answer to a "
            "question or laws are needed"
        )
    told = tuple(_answered(document, place, name, wanted) for name, wanted in asked)
    ids = [one["id"] for one in told]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ValueError(
            f"an answer to {', '.join(twice)} is given twice; give it once, with every answer that "
            "holds"
        )
    name, layer = split or document.reference, layer or document.layer
    if layer not in document.results.get(name, {}):
        found = [f"{s}/{entry}" for s, layers in document.results.items() for entry in layers]
        raise ValueError(
            f"{place} has no split/layer {name}/{layer}; name one of {', '.join(found)}"
        )
    readings = document.results[name][layer]
    rows: list[dict[str, Any]] = []
    for bounds, sign in limits:
        for key, limit in bounds.items():
            if key not in readings:
                near = difflib.get_close_matches(key, readings, n=3, cutoff=0.4)
                raise ValueError(
                    f"{place} has no reading {key!r}; did you mean {' or '.join(near)}?"
                    if near
                    else f"{place} has no reading {key!r}; it has {', '.join(readings)}"
                )
            value = readings[key].value
            holds = value is not None and (value <= limit if sign == "<=" else value >= limit)
            rows.append({"key": key, "value": value, "limit": limit, "sign": sign, "holds": holds})
    return Checked(name, layer, tuple(rows), told, _held(laws))


def check_laws(run: Any) -> dict[str, str]:
    """Every law of training that a run was held against: "agrees", "breaks" or "does not apply".

    run: a run folder or its results.json, a `Measurement` (what `Tracker.finish` returns), or what
    follows the training itself: an `nc.Tracker`, a callback of Lightning or Hugging Face, or its
    `law`. One line in a test that continuous integration runs:

    >>> def test_my_run():                                                     # doctest: +SKIP
    ...     assert nc.check_laws("runs/night") == {"head_sum": "agrees"}

    A law that does not apply raises nothing; the comparison above does not let it pass.

    Raises CheckError, an AssertionError, that names each law that breaks, by how much, and what
    breaks it; ValueError where no law was followed.
    """
    __tracebackhide__ = True
    laws = laws_of(run)
    found = Checked("", "", laws=_held(laws))
    found.enforce("laws of training", str(run) if isinstance(run, str | Path) else "this run")
    return {str(law["law"]): str(law["answer"]) for law in laws}


def laws_of(run: Any) -> list[dict[str, Any]]:
    """The laws that a training was held against, of anything that `check_laws` takes. Raises
    ValueError where there are none."""
    if isinstance(run, str | Path):
        return kept_laws(read_document(run), run)
    document = run if isinstance(run, Document) else getattr(run, "document", None)
    if isinstance(document, Document):
        return kept_laws(document, f"this {type(run).__name__}")
    if isinstance(run, Trace):
        raise ValueError(
            "a trace keeps readings along training and no laws; pass the run folder, the tracker, "
            "or what tracker.finish() returns"
        )
    if not hasattr(run, "law"):
        raise ValueError(
            f"laws of a {type(run).__name__} are not known; pass a run folder, a Measurement, an "
            "nc.Tracker or a callback"
        )
    law = run if hasattr(run, "answer") else run.law
    if law is None:
        raise ValueError(f"this {type(run).__name__} follows no law of its training; {NO_LAWS}")
    return [law.to_dict()]


def kept_laws(document: Document, place: Any) -> list[dict[str, Any]]:
    """The laws that a training run was held against. Raises ValueError where there are none, and
    where what is kept of one is damaged."""
    laws = document.config.get("laws")
    if not isinstance(laws, list) or not laws:
        raise ValueError(
            f"{place} keeps no laws of its training; {NO_LAWS} and save what tracker.finish() "
            "returns"
        )
    for law in laws:
        known = isinstance(law, dict) and all(isinstance(law.get(k), str) for k in TEXTS)
        if not known or law["answer"] not in VERDICTS or not isinstance(law.get("notes"), list):
            raise ValueError(
                f"{place} is damaged: what it keeps of a law of its training is not whole; write "
                "the run again"
            )
    return laws


def _held(laws: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple({**law, "holds": law["answer"] != BREAKS} for law in laws)


def _limits(given: Mapping[str, float] | None) -> dict[str, float]:
    for key, limit in (given or {}).items():
        if isinstance(limit, bool) or not isinstance(limit, Real) or math.isnan(limit):
            raise ValueError(f"{limit!r} is no limit of {key}; a number is needed")
    return dict(given or {})


def _answered(document: Document, place: str, name: str, wanted: Wanted) -> dict[str, Any]:
    """The document's verdict on a question, against the answers that are wanted."""
    if not wanted or not set(wanted) <= set(ANSWERS):
        raise ValueError(
            f"{' or '.join(map(repr, wanted)) or 'no answer'} is no answer to {name!r}; answers "
            f"are {', '.join(ANSWERS)}"
        )
    verdict = verdict_on(document, name)
    if verdict is None:
        known = [identified(v) for v in document.verdicts]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
        raise ValueError(f"{place} has no answer to {name!r}; {hint}")
    answer = verdict.answer
    return {
        "id": identified(verdict),
        "answer": answer,
        "wanted": list(wanted),
        "holds": answer in wanted,
    }
