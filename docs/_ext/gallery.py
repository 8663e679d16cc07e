"""Directives `scoreboard` and `study-gallery`: verdicts of all studies, from their tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from pathlib import Path

from docutils import nodes
from results import VERDICTS, Results, Row, pages, read
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ncollapse import studies

LABELS = dict(zip(VERDICTS, ("held", "did not", "cannot tell"), strict=True))
CLASSES = dict(zip(VERDICTS, ("nc-yes", "nc-no", "nc-unsure"), strict=True))
AXIS, HEIGHT, NUMBERS = 220, 18, 190
LETTER, LONGEST = 5.3, 34  # Width of a letter of a name, and the most that are shown.
DECADES = 30.0  # Numbers farther apart than this factor stand on a logarithmic axis.


class Studies(SphinxDirective):
    """What is read for both; a change of any page of studies makes the page anew."""

    def results(self) -> list[Results]:
        docs = Path(self.env.srcdir)
        for page in pages(docs):
            self.env.note_dependency(str(page))
        return read(docs, studies.names())

    def raw(self, html: str) -> list[nodes.Node]:
        return [nodes.raw("", html, format="html")]


class Scoreboard(Studies):
    """How many claims held, did not, cannot be told, and one square for each."""

    def run(self) -> list[nodes.Node]:
        found = self.results()
        total = {name: sum(one.tally[name] for one in found) for name in VERDICTS}
        counts = "".join(
            f'<span class="nc-count {CLASSES[name]}"><b>{total[name]}</b> {LABELS[name]}</span>'
            for name in VERDICTS
        )
        squares = "".join(
            f'<a href="gallery.html#{one.name}" title="{one.name}: {_said(one)}">'
            + "".join(f'<i class="{CLASSES[row.verdict]}"></i>' for row in one.rows)
            + "</a>"
            for one in found
        )
        return self.raw(
            f'<div class="nc-board"><p>{len(found)} studies, {sum(total.values())} published or '
            f"expected claims, each against a bar written down first: {counts}</p>"
            f'<div class="nc-squares">{squares}</div></div>'
        )


class Gallery(Studies):
    """A section for every study: question, verdicts, and a figure of numbers against bars."""

    def run(self) -> list[nodes.Node]:
        sections: list[nodes.Node] = []
        for one in self.results():
            section = nodes.section(ids=[one.name], names=[one.name])
            section += nodes.title("", one.name)
            section += nodes.paragraph("", one.question)
            section += self.raw(
                f'<p class="nc-verdicts">{_counts(one)} · <a href="{one.page}.html#{one.name}">'
                f"claims, sources and what came of them</a></p>{figure(one)}"
            )
            sections.append(section)
        return sections


def _said(one: Results) -> str:
    return ", ".join(f"{one.tally[name]} {LABELS[name]}" for name in VERDICTS if one.tally[name])


def _counts(one: Results) -> str:
    return " ".join(
        f'<span class="nc-count {CLASSES[name]}"><b>{one.tally[name]}</b> {LABELS[name]}</span>'
        for name in VERDICTS
        if one.tally[name]
    )


def figure(one: Results) -> str:
    """Every claim as a line: its bar shaded, its number with its interval, each on its own axis."""
    height = HEIGHT * len(one.rows) + 6
    names = [_name(row, one.name) for row in one.rows]
    left = LETTER * max(map(len, names)) + 14
    parts = [
        f'<svg class="nc-figure" role="img" viewBox="0 0 {left + AXIS + NUMBERS:.0f} {height}" '
        f'aria-label="{one.name}: {_said(one)}">'
    ]
    for place, (row, name) in enumerate(zip(one.rows, names, strict=True)):
        line = _line(row, name, left)
        parts.append(f'<g transform="translate(0 {place * HEIGHT + 3})">{line}</g>')
    return "".join([*parts, "</svg>"])


def _name(row: Row, study: str) -> str:
    name = row.id.removeprefix(f"{study}-")
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _line(row: Row, name: str, left: float) -> str:
    kind, middle = CLASSES[row.verdict], HEIGHT / 2
    tip = escape(f"{row.text} Measured: {row.measured}; bar: {row.bar}; {row.verdict}.")
    text = (
        f'<title>{tip}</title><text class="nc-name" x="{left - 8:.1f}" y="{middle + 4}" '
        f'text-anchor="end">{escape(name)}</text>'
    )
    start, end = 0.0, float(AXIS)
    at = _scale(row)
    low, high = row.ends
    shade = (start if low == -math.inf else at(low), end if high == math.inf else at(high))
    text += (
        f'<rect class="nc-axis" x="{left:.1f}" y="{middle - 0.5}" width="{AXIS}" height="1"/>'
        f'<rect class="nc-bar" x="{left + shade[0]:.1f}" y="2" '
        f'width="{max(shade[1] - shade[0], 2):.1f}" height="{HEIGHT - 4}"/>'
    )
    value, bottom, top = row.numbers
    if value is not None:
        if bottom is not None and top is not None:
            text += (
                f'<rect class="nc-span {kind}" x="{left + at(bottom):.1f}" y="{middle - 1}" '
                f'width="{max(at(top) - at(bottom), 1):.1f}" height="2"/>'
            )
        text += _mark(row.verdict, left + at(value), middle)
    number = escape(f"{row.measured.partition(' [')[0]}  ({row.bar})")
    return (
        text + f'<text class="nc-number" x="{left + AXIS + 8:.1f}" y="{middle + 4}">{number}</text>'
    )


def _mark(verdict: str, x: float, y: float) -> str:
    """Told apart by shape as well as by colour."""
    kind = CLASSES[verdict]
    if verdict == "holds":
        return f'<circle class="nc-mark {kind}" cx="{x:.1f}" cy="{y}" r="4"/>'
    if verdict == "does not hold":
        return f'<path class="nc-cross {kind}" d="M{x - 4:.1f} {y - 4}l8 8m0 -8l-8 8" fill="none"/>'
    return f'<circle class="nc-ring {kind}" cx="{x:.1f}" cy="{y}" r="3.5" fill="none"/>'


def _scale(row: Row) -> Callable[[float], float]:
    """Numbers to places on the row's own axis: all that the row names, with room on either side."""
    shown = [one for one in (*row.numbers, *row.ends) if one is not None and math.isfinite(one)]
    log = min(shown) > 0 and max(shown) / min(shown) > DECADES
    places = [math.log(one) if log else one for one in shown]
    low, high = min(places), max(places)
    room = 0.25 * (high - low) or abs(high) or 1.0
    low, high = low - room, high + room

    def at(value: float) -> float:
        place = math.log(value) if log else value
        return AXIS * (place - low) / (high - low)

    return at


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("scoreboard", Scoreboard)
    app.add_directive("study-gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
