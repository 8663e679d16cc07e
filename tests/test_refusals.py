"""What is refused is refused in a sentence: what was passed, what is needed, what to do."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import ncollapse
from tests import fresh
from tests.refusals import SECTIONS
from tests.refusals.case import Heard, read
from tests.refusals.page import PAGE, page

PACKAGE = Path(ncollapse.__file__).resolve().parent
CASES = [
    pytest.param(number, place, id=f"{section.name}: {refusal.title}")
    for number, section in enumerate(SECTIONS)
    for place, refusal in enumerate(section.refusals)
]
LISTEN = """
from tests.refusals import SECTIONS
from tests.refusals.case import listen, written

print(written(listen(SECTIONS)))
"""
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


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> list[list[Heard]]:
    """What is said to users, in whose process no checker of types speaks first."""
    place = tmp_path_factory.mktemp("refusals")
    done = fresh.run(LISTEN, place, environment={"MPLBACKEND": "agg"})
    assert done.returncode == 0, done.stderr
    return read(done.stdout)


ALL = pytest.mark.parametrize(("number", "place"), CASES)


@ALL
def test_it_is_refused_by_the_package_itself(number: int, place: int, heard) -> None:
    """Not by what lies below it, and in no other way than the page says."""
    refusal, found = SECTIONS[number].refusals[place], heard[number][place]
    assert found.sentence, f"accepted: {refusal.wrote}\n{found.printed}"
    if refusal.is_command:
        assert (found.code, found.printed, found.left) == (2, "", [])
        return
    assert found.error == refusal.error
    assert PACKAGE in Path(found.raised).parents
    assert found.own


@ALL
def test_the_sentence_says_what_was_passed_and_what_to_do(number: int, place: int, heard) -> None:
    refusal, sentence = SECTIONS[number].refusals[place], heard[number][place].sentence
    assert refusal.says, "no part of the sentence is named that tells what was passed"
    assert refusal.asks, "no part of the sentence is named that tells what to do"
    for part in (*refusal.says, *refusal.asks):
        assert part in sentence
    starts = [sentence.index(part) for part in refusal.says]
    assert min(starts) < max(sentence.rindex(part) + len(part) for part in refusal.asks)


@ALL
def test_the_sentence_is_one(number: int, place: int, heard) -> None:
    sentence = heard[number][place].sentence
    assert 20 <= len(sentence) <= 600
    assert sentence == " ".join(sentence.split())
    assert not sentence.endswith((",", ";", ":"))
    assert ASKING.search(sentence)
    # What was passed stands apart from what is asked.
    assert re.search(r"[;:.?(,]", sentence)
    for raw in RAW:
        assert raw.lower() not in sentence.lower()
    # Half-open intervals aside, what is opened is closed.
    closed = re.sub(r"[\[(][\d., ]+[\])]", "", sentence)
    for left, right in ("()", "[]", "{}"):
        assert closed.count(left) == closed.count(right)


def test_titles_and_sentences_are_of_one_entry_each(heard) -> None:
    titles = Counter(one.title for section in SECTIONS for one in section.refusals)
    assert max(titles.values()) == 1
    for part in heard:
        said = Counter(found.sentence for found in part)
        assert max(said.values()) == 1, said.most_common(1)


def test_there_are_many_of_every_kind() -> None:
    assert sum(len(section.refusals) for section in SECTIONS) >= 100
    assert all(len(section.refusals) >= 5 for section in SECTIONS)


def test_the_page_is_what_is_said_today(heard) -> None:
    assert PAGE.read_text("utf-8") == page(SECTIONS, heard), "run `python -m tests.refusals`"
