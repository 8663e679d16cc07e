"""Were the named classes unlearned, or does the head alone not say them any more?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ncollapse.answers.question import (
    CANNOT_TELL,
    NO,
    NOT_MEASURED,
    YES,
    Answer,
    Asking,
    Question,
    Seen,
    cuts,
    percent,
)

SECTION = "unlearning"
TITLES = {"head": "the head", "centres": "class means", "probe": "a linear probe"}
GONE, LEFT, OPEN = "gone", "left", "open"


def unlearned(asking: Asking, seen: Seen) -> Answer:
    """Yes where head and features are near chance; no where either of them is not: a class that
    a probe or class means still tell is hidden, whatever the head says."""
    found = asking.downstream.get(SECTION)
    if not found:
        return Answer(NOT_MEASURED, "No classes were named as forgotten.")
    readers: Mapping[str, Any] = found["numbers"]["readers"]
    states = {name: _state(reader) for name, reader in readers.items()}
    said = ", ".join(
        f"{TITLES[name]} {percent(reader['forgotten'][0])}" for name, reader in readers.items()
    )
    said = f"({said}; guessing {percent(readers['probe']['chance'])})"
    features = [states[name] for name in ("centres", "probe")]
    head = states.get("head")
    if head == LEFT:
        return Answer(NO, f"The head still decides the classes that were to be forgotten {said}.")
    if LEFT in features:
        if head == GONE:
            return Answer(NO, f"The head forgets, the features do not {said}.")
        what = "No head was read" if head is None else "The head may forget"
        return Answer(NO, f"{what}; the features do not forget {said}.")
    if features == [GONE, GONE] and head in (GONE, None):
        who = "The features forget" if head is None else "Head and features forget"
        return Answer(YES, f"{who} {said}.")
    return Answer(CANNOT_TELL, f"Between forgotten and kept, or too few samples to tell {said}.")


def _state(reader: Mapping[str, Any]) -> str:
    """By the interval of how well the reader tells the classes from those taken for them, which is
    0 where they lie upon another class. A reader at chance on kept classes tells nothing."""
    _, low, high = reader["told"]
    if not reader["kept"][1] > reader["chance"]:
        return OPEN
    if high <= cuts()["unlearned_gone"]:
        return GONE
    return LEFT if low >= cuts()["unlearned_left"] else OPEN


QUESTIONS = (
    Question(
        "unlearned",
        8,
        "Were the named classes unlearned?",
        (),
        unlearned,
        asked=lambda asking: bool(asking.downstream.get(SECTION)),
        basis="The three readers of unlearning, seen below.",
    ),
)
