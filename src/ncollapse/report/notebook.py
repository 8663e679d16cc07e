"""What a notebook shows of a measurement, a trace or a geometry: a few kB, without scripts."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment

from ncollapse.metrics.catalog import shown
from ncollapse.record.document import Document, described
from ncollapse.record.readings import Reading
from ncollapse.record.trace import Trace
from ncollapse.report.terminal import crowded_of

# So many rows of a table, warnings and characters of a text at most.
ROWS, WARNINGS, LONGEST = 12, 5, 300

_TABLE = """<table><thead><tr>{% for cell in head %}<th scope="col">{{ cell }}</th>{% endfor %}
</tr></thead><tbody>{% for row in rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table>"""
_PAGE = (
    """<div class="ncollapse"><p><strong>{{ title }}</strong></p>
{% if verdicts %}<ul>{% for verdict in verdicts %}
<li><strong>{{ verdict.question }} {{ verdict.answer }}.</strong> {{ verdict.sentence | cut }}</li>
{% endfor %}</ul>{% endif %}
{% if rows %}"""
    + _TABLE
    + """{% endif %}
{% if warnings %}<details><summary>{{ warnings | length }} warnings</summary><ul>
{% for warning in warnings[:most] %}<li>{{ warning | cut }}</li>{% endfor %}
{% if warnings | length > most %}<li>… and more in <code>m.warnings</code></li>{% endif %}
</ul></details>{% endif %}{% if more %}<p>{{ more }}</p>{% endif %}</div>"""
)


def render_html(document: Document) -> str:
    """Answers, and the readings of the terminal's table of two splits; every text is escaped."""
    splits = list(document.results)[:2]
    places = shown("terminal", document.task, crowded=crowded_of(document))
    rows = []
    for row, at in places[:ROWS]:
        found = [document.results[split].get(document.layer, {}).get(row.key) for split in splits]
        if any(reading is not None for reading in found):
            first = next(reading for reading in found if reading is not None)
            null = None if first.null is None else first.null.mean
            ends = (_number(null), _number(first.ideal))
            rows.append((f"{row.family} {at.title}", row.key, *map(_value, found), *ends))
    return _page(
        title=described(document),
        verdicts=[v for v in document.verdicts if v.answer != "not measured"],
        head=("", "key", *splits, "noise", "ideal"),
        rows=rows,
        warnings=document.warnings,
        more="m.to_frame() holds every reading, m.save_html(path) writes the page.",
    )


def render_trace(trace: Trace) -> str:
    """The last readings of a trace."""
    last = trace.rows[-1].step if trace.rows else 0
    ends = [row for row in trace.rows if row.step == last]
    rows = [(row.split, row.layer, row.key, _number(row.value)) for row in ends[: 2 * ROWS]]
    more = f"{len(ends) - len(rows)} more at this step" if len(ends) > len(rows) else ""
    return _page(title=repr(trace), head=("split", "layer", "key", f"at step {last}"), rows=rows,
                 more=more)  # fmt: skip


def render_frame(owner: Any) -> str:
    """A dozen rows of the table of whatever has one."""
    frame = owner.to_frame()
    rows = [
        [_number(cell) if isinstance(cell, float) else str(cell) for cell in row]
        for row in frame.head(ROWS).itertuples(index=False)
    ]
    more = f"{len(frame) - len(rows)} more in .to_frame()" if len(frame) > len(rows) else ""
    return _page(title=repr(owner), head=list(frame.columns), rows=rows, more=more)


def _page(**content: Any) -> str:
    environment = Environment(autoescape=True)
    environment.filters["cut"] = _cut
    empty = {"verdicts": (), "warnings": (), "more": "", "most": WARNINGS}
    return environment.from_string(_PAGE).render({**empty, **content})


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _value(reading: Reading | None) -> str:
    if reading is None:
        return "–"
    if reading.interval is None:
        return _number(reading.value)
    low, high = (_number(end) for end in reading.interval)
    return f"{_number(reading.best)} ({low} to {high})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
