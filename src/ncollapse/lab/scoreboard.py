"""Claims of studies as plain text: for a terminal, a log, or `print(result)`."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from ncollapse.lab.claims import VERDICTS, ClaimResult
from ncollapse.lab.study import Study, StudyResult

WIDTH = 100
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
    text = textwrap.fill(
        result.claim.text, WIDTH, initial_indent="      ", subsequent_indent="      "
    )
    return f"{head.rstrip()}\n{text}"


def scoreboard(results: Sequence[StudyResult]) -> str:
    """Every claim of every study, and how many hold."""
    parts = []
    for result in results:
        parts.append(f"{result.name} · {result.size} · {result.seconds:.0f} s of work")
        parts.append(textwrap.fill(result.study.question, WIDTH))
        parts.extend(line(claim) for claim in result.claims)
        for unit in result.failures:
            parts.append(f"  ! run {unit.part}-{unit.seed} failed: {unit.error}")
        parts.append("")
    tally = Counter(claim.verdict for result in results for claim in result.claims)
    parts.append(", ".join(f"{tally[name]} {name}" for name in VERDICTS))
    return "\n".join(parts)


def describe(study: Study) -> str:
    """Question, paper and every claim with its source and bar."""
    parts = [study.name, textwrap.fill(study.question, WIDTH), f"paper  {study.paper}", ""]
    for claim in study.claims:
        how = f"worst over runs, {claim.seeds} or more"
        if claim.rule == "mean":
            how = f"mean over {claim.seeds} or more seeds"
        unit = f" {claim.unit}" if claim.unit else ""
        parts.append(f"  {claim.id:<27} bar {claim.bar}{unit} ({how})")
        for text in (claim.text, f"source: {claim.source}"):
            parts.append(
                textwrap.fill(text, WIDTH, initial_indent="      ", subsequent_indent="      ")
            )
    return "\n".join(parts)
