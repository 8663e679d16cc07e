"""What a document says of other data, for the terminal and the page: sentences and a table."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ncollapse.record.document import Document

SHOWN = 12


def render_downstream(document: Document, width: int = 80) -> str:
    """Every part with its sentences and its first rows; empty where nothing was read."""
    lines: list[str] = []
    for found in document.downstream.values():
        lines += ["", found["title"]] if lines else [found["title"]]
        for said in found["sentences"]:
            lines += textwrap.wrap(said, width, initial_indent=" ", subsequent_indent="   ")
        rows = table(found)
        columns: Sequence[str] = found["columns"]
        wide = [max(len(row[i]) for row in (columns, *rows)) + 2 for i in range(len(columns))]
        for row in (columns, *rows[:SHOWN]):
            cells = "".join(f"{cell:>{size}}" for cell, size in zip(row, wide, strict=True))
            lines.append(cells if len(cells) <= width else cells[: width - 1] + "…")
        if len(rows) > SHOWN:
            lines.append(f" … {len(rows) - SHOWN} more in results.json")
    return "\n".join(lines)


def table(found: Mapping[str, Any]) -> list[list[str]]:
    """Rows of a part as texts."""
    return [[_cell(value) for value in row] for row in found["rows"]]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
