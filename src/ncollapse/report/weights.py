"""A classifier alone in 24 lines of 80 columns: readings, random rows, answers, merged classes."""

from __future__ import annotations

import textwrap

from ncollapse.metrics.catalog import shown
from ncollapse.metrics.metric import Metric, Place
from ncollapse.record.document import Document
from ncollapse.record.readings import Reading
from ncollapse.report.terminal import number

MOST = 24


def render_weights(document: Document, *, width: int = 80, seconds: float | None = None) -> str:
    """The table as plain text: at most 24 lines of `width` columns, sentences below it."""
    head = document.config["head"]
    split = document.reference
    readings = document.results[split][document.layer]
    lines = [_fit(f"ncollapse {document.ncollapse_version} · {document.source}", width)]
    parts = [
        f"K={document.num_classes}",
        f"d={document.num_features}",
        f"rank {head['rank']}",
        "bias" if head["bias"] else "no bias",
        document.config["features_dtype"],
    ]
    lines.append(" · ".join(parts))
    named = f"head {head['name']!r} {head['origin']}: {head['check']}"
    lines += textwrap.wrap(named, width, subsequent_indent="     ", max_lines=2, placeholder=" …")
    if head["others"]:
        lines.append(_fit(f"next {', '.join(head['others'])}", width))
    lines.append("")
    lines.append(f"{'':26}{'rows':>12}{'random rows':>29}{'bound':>12}")
    for row, place in rows():
        reading = readings.get(row.key)
        if reading is not None and reading.value is not None:
            lines.append(_line(row, place, reading))
    lines.append("")
    sentences = []
    for verdict in document.verdicts:
        if verdict.answer != "not measured":
            lines.append(_fit(f" {verdict.question:<52}{verdict.answer}", width))
        if verdict.id == "weights_merged" and verdict.answer != "no":
            sentences.append(verdict.sentence)
    for said in sentences:
        lines += textwrap.wrap(said, width - 1, initial_indent=" ", subsequent_indent=" ")[:3]
    if document.warnings:
        more = len(document.warnings) - 1
        note = f" Note: {document.warnings[0]}" + (f" (+{more} more)" if more else "")
        lines.append(_fit(note, width))
    took = "" if seconds is None else f"{seconds:.1f} s · "
    lines.append(f" {took}ncollapse explain KEY tells what a number means")
    return "\n".join(lines[:MOST])


def rows() -> list[tuple[Metric, Place]]:
    """What the table of a classifier alone shows, in its order."""
    both = (*shown("alone", crowded=False), *shown("alone", crowded=True))
    found = {row.key: (row, place) for row, place in both}
    return sorted(found.values(), key=lambda item: item[1].rank)


def _line(row: Metric, place: Place, reading: Reading) -> str:
    null = reading.null
    random = ""
    if null is not None:
        random = f"{number(null.mean)} ({number(null.low)}, {number(null.high)})"
    bound = ""
    if reading.floor is not None and row.family != "NC0":
        bound = f"{'≤' if row.direction == 'up' else '≥'} {number(reading.floor)}"
    return f" {place.title:25}{number(reading.value):>12}{random:>29}{bound:>12}".rstrip()


def _fit(line: str, width: int) -> str:
    line = line.rstrip()
    return line if len(line) <= width else line[: width - 1] + "…"
