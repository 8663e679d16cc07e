"""What is refused is refused in a sentence: what was passed, what is needed, what to do."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import ncollapse
from tests.refusals import SECTIONS
from tests.refusals.case import Section
from tests.refusals.page import PAGE, page

PACKAGE = Path(ncollapse.__file__).resolve().parent
CASES = [
    pytest.param(section, place, id=f"{section.name}: {refusal.title}")
    for section in SECTIONS
    for place, refusal in enumerate(section.refusals)
]
# Words that ask for something: what is needed, or what to do about it.
ASKING = re.compile(
    r"\b(needed|needs?|must|at least|did you mean|can be asked for|one of|pass|give|write|use|takes?|add|"
    r"leave|name|set|call|save|load|build|put|make|measure|install|upgrade|look|run|number|count|repair|"
    r"remove|choose|say|swap|fix|multiply|download|divide|shuffle|wait|start|go)\b"
)
# What Python, torch and numpy write where no one thought of the reader.
RAW = (
    "Traceback", "NoneType", "object at 0x", "<class ", "<function", "dtype('", "__", "positional argument",
    "object has no attribute", "not supported between", "is not subscriptable", "is not iterable",
    "is not callable", "invalid literal", "ndarray'>", "tensor([", "array([", "errno",
)  # fmt: skip


ALL = pytest.mark.parametrize(("section", "place"), CASES)


@ALL
def test_it_is_refused_by_the_package_itself(section: Section, place: int) -> None:
    """Not by what lies below it, and in no other way than the page says."""
    refusal, heard = section.refusals[place], section.heard[place]
    assert heard.sentence, f"accepted: {refusal.wrote}\n{heard.printed}"
    if refusal.is_command:
        assert heard.code == 2
        assert heard.printed == ""
        assert heard.left == ()
        return
    assert heard.error == refusal.error
    assert heard.raised is not None
    assert PACKAGE in heard.raised.resolve().parents
    assert heard.own


@ALL
def test_the_sentence_says_what_was_passed_and_what_to_do(section: Section, place: int) -> None:
    refusal, sentence = section.refusals[place], section.heard[place].sentence
    assert refusal.says, "no part of the sentence is named that tells what was passed"
    assert refusal.asks, "no part of the sentence is named that tells what to do"
    for part in (*refusal.says, *refusal.asks):
        assert part in sentence
    ends = [sentence.index(part) for part in refusal.says]
    assert min(ends) < max(sentence.rindex(part) + len(part) for part in refusal.asks)


@ALL
def test_the_sentence_is_one(section: Section, place: int) -> None:
    sentence = section.heard[place].sentence
    assert 20 <= len(sentence) <= 600
    assert "\n" not in sentence
    assert sentence == " ".join(sentence.split())
    assert not sentence.endswith((",", ";", ":", " ", "…;"))
    assert ASKING.search(sentence)
    # What was passed stands apart from what is asked.
    assert re.search(r"[;:.?(,]", sentence)
    for raw in RAW:
        assert raw.lower() not in sentence.lower()
    # Half-open intervals aside, what is opened is closed.
    closed = re.sub(r"[\[(][\d., ]+[\])]", "", sentence)
    for left, right in ("()", "[]", "{}"):
        assert closed.count(left) == closed.count(right)


def test_titles_and_sentences_are_of_one_entry_each() -> None:
    titles = Counter(one.title for section in SECTIONS for one in section.refusals)
    assert max(titles.values()) == 1
    for section in SECTIONS:
        said = Counter(heard.sentence for heard in section.heard)
        assert max(said.values()) == 1, said.most_common(1)


def test_there_are_many_of_every_kind() -> None:
    assert sum(len(section.refusals) for section in SECTIONS) >= 100
    assert all(len(section.refusals) >= 5 for section in SECTIONS)


def test_the_page_is_what_is_said_today() -> None:
    assert PAGE.read_text("utf-8") == page(SECTIONS), "run `python -m tests.refusals`"
