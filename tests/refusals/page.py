"""docs/refusals.md, made of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.refusals.case import Heard, Refusal, Section

PAGE = Path(__file__).resolve().parents[2] / "docs" / "refusals.md"
TOP = """---
tocdepth: 2
---

# Refusals

What is not as it must be is refused in one sentence: what was passed, what is needed, what to do. In
Python it is a `ValueError` unless the entry names another error; on the command line it is the one line
on stderr, and the exit code is 2. The {count} entries below are what tests run: the lines as they stand,
after those at the top of their section, and the sentence that came back. What else is promised of bad
input: [what is refused, what is promised](promises.md).
"""


def page(sections: Sequence[Section], heard: Sequence[Sequence[Heard]]) -> str:
    """The page of what was heard."""
    count = sum(len(section.refusals) for section in sections)
    return "\n".join([TOP.format(count=count), *map(chapter, sections, heard)])


def chapter(section: Section, heard: Sequence[Heard]) -> str:
    given = f"{block('python', section.given)}\n" if section.given.strip() else ""
    entries = map(entry, section.refusals, heard)
    return f"## {section.name}\n\n{section.about}\n\n{given}" + "\n".join(entries)


def entry(refusal: Refusal, heard: Heard) -> str:
    language = "console" if refusal.is_command else "python"
    wrote = f"$ {refusal.wrote}" if refusal.is_command else refusal.wrote
    kind = f"{heard.error}: " if heard.error not in ("", "ValueError") else ""
    said = block("text", kind + heard.sentence, wraps=True)
    return f"### {refusal.title}\n\n{block(language, wrote)}\n{said}"


def block(language: str, text: str, *, wraps: bool = False) -> str:
    """Not fenced as blocks that run alone; those are tested elsewhere."""
    options = ":class: nc-said\n\n" if wraps else ""
    return f"```{{code-block}} {language}\n{options}{text.strip()}\n```\n"
