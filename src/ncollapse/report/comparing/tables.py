"""Compared runs as tables: terminal, Markdown, LaTeX, CSV, HTML and plain data."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ncollapse.metrics.catalog import METRICS
from ncollapse.record.readings import Reading
from ncollapse.report.comparing.compared import COLUMNS, NOISE, Compared, Row
from ncollapse.report.comparing.difference import Difference
from ncollapse.report.terminal import number

# Beside a cell: beyond noise, within it, or no interval to tell by.
BEYOND, WITHIN = "*", "="
# Columns of the terminal: all of a line, the name of a run, a reading.
WIDE, NAME, CELL = 80, 18, 16
# So many runs have their answers beside each other; of more they are counted.
FEW = 4
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "σ": r"$\sigma$", "…": r"\ldots{}", "≥": r"$\geq$", "≤": r"$\leq$",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table of texts: titles and, by run, cells with their marks; the order is that of x."""

    titles: list[str]
    names: list[str]
    settings: list[str] | None
    cells: list[list[tuple[str, str]]]
    baseline: str


def table(compared: Compared, keys: Sequence[str] | None, x: str | None) -> Table:
    """One line a run, one column a reading."""
    rows = compared.headline(keys)
    if not rows:
        raise ValueError(f"no run has the readings {', '.join(keys or ())}")
    order = list(range(len(compared.names)))
    settings: list[str] | None = None
    if x is not None:
        along = compared.along(x)
        numbers = all(isinstance(value, float) for value in along)
        if numbers:
            order.sort(key=lambda place: float(along[place]))
        else:
            order.sort(key=lambda place: str(along[place]))
        settings = [_plain(along[place]) for place in order]
    several = len({(row.split, row.layer) for row in rows}) > 1
    return Table(
        [title(row, several) for row in rows],
        [compared.names[place] for place in order],
        settings,
        [[(cell(row, place), mark(row.differences[place])) for row in rows] for place in order],
        compared.names[compared.baseline],
    )


def title(row: Row, several: bool = False) -> str:
    """What a reading is called at the head of a column."""
    known = METRICS.get(row.key)
    percent = " (%)" if known is not None and known.unit == "percent" else ""
    return (f"{row.split}/{row.layer} " if several else "") + row.key + percent


def cell(row: Row, place: int, sign: str = " ±") -> str:
    """The best value with half its interval."""
    reading: Reading | None = row.readings[place]
    if reading is None or reading.best is None:
        return "–"
    known = METRICS.get(row.key)
    scale = 100 if known is not None and known.unit == "percent" else 1
    shown = number(reading.best, known.unit if known else "number").removesuffix(" %")
    if reading.interval is None:
        return shown
    half = scale * (reading.interval[1] - reading.interval[0]) / 2
    return f"{shown}{sign}{half:.2g}"


def mark(gap: Difference | None) -> str:
    if gap is None or gap.differs is None:
        return ""
    return BEYOND if gap.differs else WITHIN


def legend(compared: Compared) -> list[str]:
    """What the marks mean, and what they cannot."""
    base = compared.names[compared.baseline]
    said = [
        f"{BEYOND} differs from {base} beyond noise (the 95 % interval of the difference leaves 0 "
        f"out), {WITHIN} does not; no mark: no interval."
    ]
    if compared.chance >= 20:
        said.append(
            f"{compared.chance} differences were looked at: about {compared.chance / 20:.0f} of "
            "them would be marked by chance."
        )
    return [*said, NOISE]


def text(compared: Compared, keys: Sequence[str] | None = None, x: str | None = None) -> str:
    """For the terminal: blocks of as many columns as 80 characters hold."""
    found = table(compared, keys, x)
    names = [*(f"{n} " for n in found.names)]
    lines = [f"{len(names)} runs against {found.baseline}"]
    for sentence in compared.unlike[:6]:
        lines += textwrap.wrap(f"!  {sentence}", WIDE, subsequent_indent="   ", max_lines=2)
    wide = min(max(NAME, *(len(name) for name in names)), 40)
    front = [_cut(name, wide) for name in names]
    if found.settings is not None:
        size = max(len(x or ""), *(len(s) for s in found.settings)) + 1
        front = [f"{f}{s:>{size}}" for f, s in zip(front, found.settings, strict=True)]
    for block in _blocks(found.titles, WIDE - len(front[0])):
        titles = found.titles[block]
        sizes = [_size(one) for one in titles]
        gap = " " * len(front[0])
        lines += ["", gap + "".join(f"{t:>{s}} " for t, s in zip(titles, sizes, strict=True))]
        for name, cells in zip(front, found.cells, strict=True):
            some = cells[block]
            shown = (f"{c:>{s}}{m or ' '}" for (c, m), s in zip(some, sizes, strict=True))
            lines.append(name + "".join(shown))
    asked = [
        (question, said)
        for _, question, said in compared.answers
        if any(answer not in (None, "not measured") for answer in said)
    ]
    if asked:
        lines.append("")
    for question, said in asked:
        short = question if len(question) <= 50 else f"{question[:49]}…"
        lines += textwrap.wrap(f"{short:<50} {_counted(said)}", WIDE, subsequent_indent=" " * 51)
    closing = [line for one in legend(compared) for line in textwrap.wrap(one, WIDE)]
    return "\n".join(line.rstrip() for line in (*lines, "", *closing))


def _size(name: str) -> int:
    """Characters of a column, without its mark."""
    return max(CELL, len(name) + 2)


def _blocks(titles: Sequence[str], room: int) -> Iterator[slice]:
    """Columns that stand beside each other, one at least."""
    start = used = 0
    for place, name in enumerate(titles):
        used += _size(name) + 1
        if used > room and place > start:
            yield slice(start, place)
            start, used = place, _size(name) + 1
    yield slice(start, len(titles))


def markdown(compared: Compared, keys: Sequence[str] | None = None, x: str | None = None) -> str:
    """A pipe table with the legend below it."""
    found = table(compared, keys, x)

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(one.replace("|", r"\|") for one in cells) + " |"

    front = ["run"] + ([] if x is None else [x])
    lines = [line([*front, *(f"`{t}`" for t in found.titles)])]
    lines.append(line(["---"] * len(front) + ["---:"] * len(found.titles)))
    signs = {BEYOND: r"\*"}
    for place, name in enumerate(found.names):
        start = [name] + ([] if found.settings is None else [found.settings[place]])
        marked = [f"{c} {signs.get(m, m)}".strip() for c, m in found.cells[place]]
        lines.append(line([*start, *marked]))
    said = [note.replace(BEYOND, r"\*") for note in legend(compared)]
    return "\n".join([*lines, "", *said])


def latex(compared: Compared, keys: Sequence[str] | None = None, x: str | None = None) -> str:
    r"""A tabular of booktabs: \usepackage{booktabs}; the legend stands in comments behind it."""
    found = table(compared, keys, x)
    front = 1 if x is None else 2
    heads = ["run"] + ([] if x is None else [x]) + found.titles
    lines = [
        rf"\begin{{tabular}}{{l{'r' * (front - 1 + len(found.titles))}}}",
        r"\toprule",
        " & ".join(_tex(head) for head in heads) + r" \\",
        r"\midrule",
    ]
    for place, name in enumerate(found.names):
        cells = [_tex(name)]
        cells += [] if found.settings is None else [_number(found.settings[place])]
        cells += [_cell_tex(shown, sign) for shown, sign in found.cells[place]]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {said}" for said in legend(compared))])


def _cell_tex(shown: str, sign: str) -> str:
    if shown == "–":
        return "--"
    raised = "^{*}" if sign == BEYOND else ""
    plain = re.sub(r"([-\d.]+)e([-+]?\d+)", _power, shown.replace("±", r"\pm "))
    return f"${plain}{raised}$"


def _power(found: re.Match[str]) -> str:
    return rf"{found[1]}\cdot 10^{{{int(found[2])}}}"


def as_csv(compared: Compared) -> str:
    """One line a run and reading, as `Compared.to_frame`."""
    found = io.StringIO(newline="")
    writer = csv.writer(found, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(compared.lines())
    return found.getvalue()


def html(compared: Compared) -> str:
    """For notebooks."""
    found = table(compared, None, None)
    head = "".join(f"<th>{escape(t)}</th>" for t in ("run", *found.titles))
    body = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{escape(c)} {m}</td>" for c, m in cells)
        + "</tr>"
        for name, cells in zip(found.names, found.cells, strict=True)
    )
    said = "".join(f"<p>{escape(note)}</p>" for note in legend(compared))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{said}"


def as_dict(compared: Compared) -> dict[str, Any]:
    """Plain data; of two runs also under the names that comparisons of two have always had."""
    data: dict[str, Any] = {
        "runs": [
            {"name": n, "source": d.source, "date": d.date, "path": None if p is None else str(p)}
            for n, d, p in zip(compared.names, compared.documents, compared.places, strict=True)
        ],
        "baseline": compared.names[compared.baseline],
        "differ": compared.unlike,
        "noise": NOISE,
        "comparisons": compared.chance,
        "readings": [_reading(row) for row in compared.rows],
        "answers": [
            {"id": name, "question": question, "answers": list(said)}
            for name, question, said in compared.answers
        ],
    }
    return data


def _reading(row: Row) -> dict[str, Any]:
    def each(read: Callable[[Reading], Any]) -> list[Any]:
        return [None if one is None else read(one) for one in row.readings]

    def gaps(read: Callable[[Difference], Any]) -> list[Any]:
        return [None if one is None else read(one) for one in row.differences]

    return {
        "split": row.split,
        "layer": row.layer,
        "key": row.key,
        "values": each(lambda r: r.value),
        "estimates": each(lambda r: r.estimate),
        "intervals": each(lambda r: r.interval),
        "definitions": each(lambda r: r.definition),
        "differences": gaps(lambda d: d.value),
        "difference_intervals": gaps(lambda d: d.interval),
        "differs": gaps(lambda d: d.differs),
    }


def _counted(said: Sequence[str | None]) -> str:
    counts: dict[str, int] = {}
    for answer in said:
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
    if len(said) <= FEW:
        return " | ".join(answer or "–" for answer in said)
    return ", ".join(f"{answer} {number}" for answer, number in counts.items())


def _cut(name: str, size: int) -> str:
    # Names of runs differ at their end.
    return f"{name:<{size}}" if len(name) <= size else f"…{name[1 - size :]}"


def _plain(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else value


def _number(value: str) -> str:
    try:
        float(value)
    except ValueError:
        return _tex(value)
    return f"${value}$"


def _tex(value: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in value)
