"""What a study leaves in its folder: study.json, claims.csv, figures and a summary page.

The folder holds one result, whole: see `record.folder`. What others keep there stays.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ncollapse.lab.page import page, pictures, standalone
from ncollapse.lab.study import Draw, Units
from ncollapse.record.atomic import set_aside, write_text
from ncollapse.record.folder import Kind, replace_parts

DOCUMENT, CLAIMS, PAGE, FIGURES = "study.json", "claims.csv", "summary.html", "figures"
COLUMNS = (
    "id", "measured", "low", "high", "bar", "unit", "verdict", "reason", "rule", "text", "source",
)  # fmt: skip


def write(
    folder: Path,
    document: dict[str, Any],
    draw: Draw | None,
    data: Units,
) -> Path:
    """Make a result the study of the folder; figures that cannot be drawn are left out with a log
    line. Raises OSError, with the folder as it was, where something cannot be written."""
    drawn = pictures(document["name"], draw, data)
    document = {**document, FIGURES: list(drawn)}
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    texts = {_figure(name): standalone(svg) for name, (_, svg) in drawn.items()}
    texts |= {CLAIMS: table(document["claims"]), PAGE: page(document, drawn), DOCUMENT: text}
    parts = {
        name: partial(write_text, text=text.rstrip("\n") + "\n") for name, text in texts.items()
    }
    before = _figures_before(folder)
    if before is None:
        set_aside(folder / DOCUMENT)
    # The document comes to its place last, as it lists the figures that are to go.
    names = tuple(dict.fromkeys((*(before or ()), *parts)))
    replace_parts(folder, parts, kind=Kind(DOCUMENT, names, mark="-study"))
    return folder


def table(claims: Sequence[Mapping[str, Any]]) -> str:
    """claims.csv: a line a claim; low and high are the ends of the interval."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for claim in claims:
        low, high = claim["interval"] or (None, None)
        row = {**claim, "low": low, "high": high}
        writer.writerow("" if row[name] is None else row[name] for name in COLUMNS)
    return buffer.getvalue()


def _figure(name: str) -> str:
    return f"{FIGURES}/{name}.svg"


def _figures_before(folder: Path) -> list[str] | None:
    """Figures of the result that lies in the folder, which alone are ours to remove; None where
    the document is not ours."""
    try:
        found = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        own = isinstance(found["claims"], list) and isinstance(found["runs"], list)
        # Older ones list none.
        names = [name for name in found.get(FIGURES, []) if Path(name).name == name]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return [_figure(name) for name in names] if own else None
