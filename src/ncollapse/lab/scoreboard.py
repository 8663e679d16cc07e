"""Claims of studies as plain text: for a terminal, a log, or `print(result)`."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable

from ncollapse.lab.claims import VERDICTS, ClaimResult
from ncollapse.lab.study import Study

WIDTH = 100
INDENT = " " * 6
MARKS = {"holds": "+", "does not hold": "-", "cannot tell": "?"}


def number(value: float | None) -> str:
    """Three significant digits, a dash where there is no number."""
    return "–" if value is None else f"{value:.3g}"


def line(result: ClaimResult) -> str:
    """One claim: mark, id, number with its interval, bar, verdict."""
    measured = number(result.measured)
    if result.interval is not None and result.claim.rule == "mean":
        measured += f" [{number(result.interval[0])}, {number(result.interval[1])}]"
    unit = f" {result.claim.unit}" if result.claim.unit else ""
    bar = str(result.claim.bar)
    said = result.verdict + (f" ({result.reason})" if result.reason else "")
    head = f"  {MARKS[result.verdict]} {result.claim.id:<27} {measured + unit:<28} {bar:<13} {said}"
    return f"{head.rstrip()}\n{_indented(result.claim.text)}"


def board(
    head: str, question: str, claims: Iterable[ClaimResult], failed: Iterable[str]
) -> list[str]:
    """One study: its head and question, every claim, and the runs that failed."""
    lines = [head, textwrap.fill(question, WIDTH), *map(line, claims)]
    return lines + [f"  ! {sentence}" for sentence in failed]


def tally(claims: Iterable[ClaimResult]) -> str:
    """How many claims hold, how many do not, and how many cannot be told."""
    found = Counter(claim.verdict for claim in claims)
    return ", ".join(f"{found[name]} {name}" for name in VERDICTS)


def describe(study: Study) -> str:
    """Question, paper, every claim with its source, bar and notes, and the claims made no more."""
    parts = [study.name, textwrap.fill(study.question, WIDTH), f"paper  {study.paper}", ""]
    for claim in study.claims:
        how = f"worst over runs, {claim.seeds} or more"
        if claim.rule == "mean":
            how = f"mean over {claim.seeds} or more seeds"
        unit = f" {claim.unit}" if claim.unit else ""
        parts.append(f"  {claim.id:<27} bar {claim.bar}{unit} ({how})")
        parts += map(_indented, (claim.text, f"source: {claim.source}", *claim.notes))
    parts += [_indented(f"retired: {name}. {why}") for name, why in study.retired.items()]
    return "\n".join(parts)


def _indented(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
