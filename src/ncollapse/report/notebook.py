"""A measurement as HTML for notebooks: verdicts first, the readings behind them."""

from __future__ import annotations

from jinja2 import Environment

from ncollapse.record.document import Document
from ncollapse.record.readings import Reading

_PAGE = """<div class="ncollapse">
<p><strong>{{ document.source }}</strong> · {{ document.num_samples }} samples ·
{{ document.num_classes }} {{ document.counted }} · d = {{ document.num_features }}</p>
<ul>
{% for verdict in document.verdicts %}
<li><strong>{{ verdict.question }} {{ verdict.answer }}.</strong> {{ verdict.sentence }}</li>
{% endfor %}
</ul>
<details><summary>Readings</summary>
<table><thead><tr><th>split</th><th>layer</th><th>key</th><th>value</th><th>95 %</th>
<th>null</th><th>floor</th><th>ideal</th></tr></thead><tbody>
{% for row in rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></details>
{% if document.warnings %}
<details><summary>{{ document.warnings | length }} warnings</summary><ul>
{% for warning in document.warnings %}<li>{{ warning }}</li>{% endfor %}
</ul></details>
{% endif %}
</div>"""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _cells(split: str, layer: str, key: str, reading: Reading) -> tuple[str, ...]:
    interval = "–"
    if reading.interval is not None:
        interval = f"{_number(reading.interval[0])} to {_number(reading.interval[1])}"
    null = None if reading.null is None else reading.null.mean
    return (
        split,
        layer,
        key,
        _number(reading.value),
        interval,
        _number(null),
        _number(reading.floor),
        _number(reading.ideal),
    )


def render_html(document: Document) -> str:
    """A fragment of HTML without scripts; every text is escaped."""
    rows = [
        _cells(split, layer, key, reading)
        for split, layers in document.results.items()
        for layer, readings in layers.items()
        for key, reading in readings.items()
    ]
    return Environment(autoescape=True).from_string(_PAGE).render(document=document, rows=rows)
