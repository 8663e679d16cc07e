"""A measurement in 24 lines of 80 columns: readings, reference, answer; then what it means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from ncollapse.answers.question import NOT_MEASURED
from ncollapse.answers.questions import identified, shared
from ncollapse.metrics.catalog import crowded_in, shown
from ncollapse.metrics.depth import depth_of
from ncollapse.record.document import COUNTED, Document
from ncollapse.record.readings import HEAD, ClassRow, Reading
from ncollapse.record.trace import Trace
from ncollapse.report.along import laws
from ncollapse.report.certified import certified
from ncollapse.report.comparing.difference import difference
from ncollapse.report.spark import sparkline

MOST = 24
# Of the readings that are shown by layer, so many fit beside each other for one and two splits.
LAYER_COLUMNS = {1: 6, 2: 3}


def render(
    document: Document,
    classes: Sequence[ClassRow] = (),
    *,
    width: int = 80,
    seconds: float | None = None,
    trace: Trace | None = None,
) -> str:
    """The table as plain text: at most 24 lines of `width` columns. trace: readings along training,
    of which the loss over its certified floor is told."""
    if document.task == "weights":
        from ncollapse.report.weights import render_weights

        return render_weights(document, width=width, seconds=seconds)
    splits = document.given_splits[:2]
    lines = [_fit(f"ncollapse {document.ncollapse_version} · {document.source}", width)]
    lines.append(_fit(_data_line(document), width))
    head = document.config.get("head")
    if head:
        lines.append(_fit(f"tap  input of {head['name']!r}: {head['check']}", width))
    lines.append("")
    header = f"{'':22}" + "".join(f"{name:>18}" for name in splits) + f"{'reference':>20}"
    lines.append(header.rstrip())
    crowded = crowded_of(document)
    for row, place in shown("terminal", document.task, crowded=crowded):
        readings = [
            document.results[split].get(document.layer, {}).get(row.key) for split in splits
        ]
        if all(reading is None or reading.value is None for reading in readings):
            continue
        noise = row.null if isinstance(row.null, str) else ""
        line = f" {place.title:22}" if row.crowded else f" {place.title:21}"
        bound = row.crowded and isinstance(row.floor, str)
        line += "".join(f"{_cell(reading, row.unit):>18}" for reading in readings)
        said = _reference(readings, row.unit, "random" if bound else noise)
        if bound:
            said += _bound(readings, row.direction)
        lines.append(_fit(line + f"{said:>20}", width))
    lines.append("")
    hidden = {split for split in document.results if split not in document.given_splits}
    for verdict in document.verdicts:
        if crowded and identified(verdict) == "frame":
            continue  # It cannot be, which the question before it says.
        # What an attack made of a split has a table of its own.
        made = verdict.id.partition(":")[2] in hidden
        if verdict.answer != "not measured" and not made:
            lines.append(_fit(f" {verdict.question:<52}{verdict.answer}", width))
    lines += spread_out(_closing(document, classes, seconds, trace), width, MOST - len(lines))
    return "\n".join(lines[:MOST])


def crowded_of(document: Document) -> bool:
    """Whether readings of more classes than a simplex can hold were made, because there are."""
    read = document.results[document.reference].get(document.layer, {})
    spectrum = document.config.get("between_scatter", {}).get(document.reference, {})
    room = min(document.num_features, spectrum.get("rank") or document.num_features)
    return document.num_classes > room + 1 and crowded_in(read)


def _data_line(document: Document) -> str:
    size, counted = document.num_classes, document.counted
    if size == 1:
        counted = counted.removesuffix("s")
    parts = [
        f"K={size}" if counted == COUNTED else f"{size} {counted}",
        f"d={document.num_features}",
    ]
    counts = document.config.get("splits", {})
    given = document.given_splits
    parts += [f"{k} {size:,}".replace(",", " ") for k, size in counts.items() if k in given]
    accuracies = []
    for split in given:
        layers = document.results[split]
        reading = layers.get(document.layer, {}).get("accuracy")
        if reading is not None and reading.value is not None:
            accuracies.append(f"{100 * reading.value:.1f}")
    if accuracies:
        parts.append(f"accuracy {' / '.join(accuracies)} %")
    parts.append(str(document.config.get("features_dtype", "")))
    return " · ".join(part for part in parts if part)


def _closing(
    document: Document, classes: Sequence[ClassRow], seconds: float | None, trace: Trace | None
) -> list[str]:
    lines = []
    lines += [f" {law['mark']} {law['sentence']}." for law in laws(document)]
    lines += [f" {one.line}." for one in certified(trace, document.reference, 1)]
    worst = _loosest(document, classes)
    if worst is not None:
        lines.append(
            f"Loosest class: {worst.name!r} ({worst.count} samples), nearest {worst.nearest!r}."
        )
    missing = [v.question.rstrip("?") for v in document.verdicts if v.answer == "not measured"]
    if missing:
        lines.append(f"Not measured: {'; '.join(missing)}.")
    if document.warnings:
        more = len(document.warnings) - 1
        lines.append(f"Note: {document.warnings[0]}" + (f" (+{more} more)" if more else ""))
    took = "" if seconds is None else f"{seconds:.1f} s · "
    lines.append(f"{took}ncollapse explain KEY tells what a number means")
    return lines


def _loosest(document: Document, classes: Sequence[ClassRow]) -> ClassRow | None:
    """The class with most spread for its distance to the nearest other one."""
    first = next(iter(document.results), None)
    rows = [
        row
        for row in classes
        if (row.split, row.layer) == (first, document.layer) and row.count > 1 and row.distance > 0
    ]
    return max(rows, key=lambda row: row.within / row.distance**2, default=None)


def render_layers(document: Document, width: int = 80) -> str:
    """Every layer of the first two splits, input first: class share, NC1, nearest-centre accuracy
    and, of a single split, what else the catalog shows by layer; how the layer was pooled, and
    where the network is finished. Below it what the layers say together. Empty where one layer was
    measured."""
    splits = document.given_splits[:2]
    layers = list(document.results[splits[0]])
    if len(layers) < 2:
        return ""
    columns = shown("layers", document.task)[: LAYER_COLUMNS[len(splits)]]
    titles = [f"{split} {place.title}" for split in splits for _, place in columns]
    if len(splits) == 1:
        titles = [place.title for _, place in columns]
    lines = [_fit(f"{'layer':<20}" + "".join(f"{title:>14}" for title in titles), width + 30)]
    depth = depth_of(
        document.results, split=document.reference, layers=document.config.get("layers")
    )
    for layer in layers:
        cells = []
        for split in splits:
            readings = document.results[split].get(layer, {})
            for row, _ in columns:
                found = readings.get(row.key)
                cells.append(f"{number(None if found is None else found.value, row.unit):>14}")
        pooled = document.config.get("layers", {}).get(layer, {}).get("pooling", "none")
        note = "" if pooled == "none" else f"  {pooled}"
        note += "  ◂ finished" if layer == depth.effective.layer else ""
        # Names of blocks differ at their end.
        name = layer if len(layer) <= 19 else f"…{layer[-18:]}"
        lines.append(_fit(f"{name:<20}" + "".join(cells) + note, width + 50))
    lines.append("")
    for said in str(depth).splitlines():
        lines += textwrap.wrap(said, width, initial_indent=" ", subsequent_indent="   ")
    return "\n".join(lines)


def number(value: float | None, kind: str = "number") -> str:
    """A value in few characters: percent, or three digits that matter."""
    if value is None:
        return "–"
    if kind == "percent":
        return f"{100 * value:.1f} %" if 0.001 < abs(value) < 0.9995 else f"{100 * value:.2f} %"
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e4):
        return f"{value:.1e}"
    return f"{value:.3f}"


def _cell(reading: Reading | None, kind: str) -> str:
    if reading is None or reading.value is None:
        return "–"
    text = number(reading.best, kind)
    if reading.interval is not None:
        half = (reading.interval[1] - reading.interval[0]) / 2
        scale = 100 if kind == "percent" else 1
        text = text.removesuffix(" %") + f" ±{half * scale:.2g}" + (" %" if scale == 100 else "")
    return text


def _reference(readings: Sequence[Reading | None], kind: str, name: str) -> str:
    for reading in readings:
        if reading is not None and reading.null is not None:
            return f"{name} {number(reading.null.mean, kind)}"
    return ""


def _bound(readings: Sequence[Reading | None], direction: str | None) -> str:
    """What no code can pass, behind what random directions read."""
    for reading in readings:
        if reading is not None and reading.floor is not None:
            return f" {'≤' if direction == 'up' else '≥'} {reading.floor:.2f}"
    return ""


def _fit(line: str, width: int) -> str:
    line = line.rstrip()
    return line if len(line) <= width else line[: width - 1] + "…"


def spread_out(sentences: Sequence[str], width: int, room: int) -> list[str]:
    """Each sentence in a line of its own; in several, while there is room for more lines than
    sentences, the first ones first."""
    lines: list[str] = []
    spare = max(room - len(sentences), 0)
    for said in sentences:
        parts = textwrap.wrap(said, width, initial_indent=" ", subsequent_indent="   ")
        if len(parts) - 1 > spare:
            parts = [*parts[:spare], _fit(" ".join([parts[spare], *parts[spare + 1 :]]), width)]
        spare -= len(parts) - 1
        lines += parts
    return lines


def render_verdicts(document: Document, width: int = 80) -> str:
    """Every verdict with its sentence, wrapped."""
    lines = []
    for verdict in document.verdicts:
        lines.append(_fit(f"{verdict.question} {verdict.answer.upper()}", width))
        lines += textwrap.wrap(verdict.sentence, width, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def render_comparison(first: Document, second: Document, width: int = 80) -> str:
    """Two documents side by side: every shared reading with its interval and difference, and in
    what the two differ that readings depend on."""
    lines = [
        _fit(f"A  {first.source} · {first.date}", width),
        _fit(f"B  {second.source} · {second.date}", width),
        *(_fit(f"!  {said}", width) for said in unlike(first, second)),
        "",
        f"{'split/layer/key':<40}{'A':>12}{'B':>12}{'B - A':>14}",
    ]
    empty = len(lines)
    marked = False
    for split, layer, key, reading, other in in_both(first, second):
        mark = "" if reading.definition == other.definition else " !"
        apart = difference(key, reading, other)
        star = "" if apart.differs is None else " *" if apart.differs else " ="
        marked |= bool(star)
        lines.append(
            f"{_fit(f'{split}/{layer}/{key}{mark}', 40):<40}{number(reading.best):>12}"
            f"{number(other.best):>12}{number(gap(reading.best, other.best)):>14}{star}"
        )
        if reading.interval is not None and other.interval is not None:
            lines.append(f"{'':<40}{_ends(reading):>12}{_ends(other):>12}".rstrip())
    if len(lines) == empty:
        lines.append("no reading is in both")
    if marked:
        lines.append("* differs beyond noise: the 95 % interval of B - A leaves 0 out; = does not")
    asked = [
        row for row in shared(first, second) if NOT_MEASURED not in (row[1].answer, row[2].answer)
    ]
    lines += [""] if asked else []
    for _, mine, theirs in asked:
        lines.append(f"{_fit(mine.question, 51):<52}{mine.answer:>12}{theirs.answer:>14}")
    return "\n".join(lines)


def _ends(reading: Reading) -> str:
    """Half the interval, below the number."""
    assert reading.interval is not None
    return f"±{(reading.interval[1] - reading.interval[0]) / 2:.2g}"


def in_both(first: Document, second: Document) -> Iterator[tuple[str, str, str, Reading, Reading]]:
    """(split, layer, key, reading, reading) of the readings that both documents have."""
    for split, layers in first.results.items():
        for layer, readings in layers.items():
            theirs = second.results.get(split, {}).get(layer, {})
            for key, reading in readings.items():
                if key in theirs:
                    yield split, layer, key, reading, theirs[key]


def gap(first: float | None, second: float | None) -> float | None:
    """second - first, where both are known."""
    return None if first is None or second is None else second - first


def unlike(first: Document, second: Document) -> list[str]:
    """Sentences on classes, features, samples, reference split and definitions that differ, on
    which readings depend."""
    found = [
        f"{name} differ: {mine} and {theirs}"
        for name, mine, theirs in (
            (f"numbers of {first.counted}", first.num_classes, second.num_classes),
            ("numbers of features", first.num_features, second.num_features),
            ("numbers of samples", first.num_samples, second.num_samples),
            ("reference splits", first.reference, second.reference),
        )
        if mine != theirs
    ]
    keys = [
        key
        for _, _, key, reading, other in in_both(first, second)
        if other.definition != reading.definition
    ]
    if keys:
        found.append(f"definitions differ, marked !: {', '.join(dict.fromkeys(keys))}")
    return found


def render_trace(
    trace: Trace,
    keys: Sequence[str],
    split: str = "train",
    width: int = 80,
    *,
    layer: str = HEAD,
) -> str:
    """Readings along training as a table of steps, and a line of bars per key."""
    columns = {key: trace.series(split, layer, key) for key in keys}
    steps = sorted({step for series in columns.values() for step in series[0]})
    lines = [_fit(f"{split:>8}" + "".join(f"{key:>20}" for key in keys), width)]
    for step in steps:
        cells = []
        for key in keys:
            found = dict(zip(*columns[key], strict=True))
            cells.append(f"{number(found.get(step)):>20}")
        lines.append(_fit(f"{step:>8}" + "".join(cells), width))
    for key in keys:
        values = [value for value in columns[key][1] if value is not None]
        if len(values) > 1:
            lines.append(_fit(f"{key:>24} {sparkline(values)}", width))
    return "\n".join(lines)
