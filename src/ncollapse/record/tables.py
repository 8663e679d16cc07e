"""The tables beside results.json: classes.csv and layers.csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.record.atomic import write_text
from ncollapse.record.checks import LARGEST
from ncollapse.record.readings import ClassRow, Results

if TYPE_CHECKING:
    import pandas as pd

CLASS_COLUMNS = tuple(column.name for column in fields(ClassRow))
# Files of older versions lack these.
NEWER = ("share", "rival", "rank")
LAYER_COLUMNS = (
    "split", "layer", "key", "value", "null", "floor", "low", "high", "ideal", "n", "definition",
    "estimate",
)  # fmt: skip


FRAME_COLUMNS = (
    "split", "layer", "key", "value", "null_mean", "floor", "low", "high", "ideal", "n",
    "definition",
)  # fmt: skip


def reading_frame(results: Results) -> pd.DataFrame:
    """One row a reading."""
    import pandas as pd

    rows = [
        (
            split, layer, key, r.value, None if r.null is None else r.null.mean, r.floor,
            *((None, None) if r.interval is None else r.interval), r.ideal, r.n, r.definition,
        )
        for split, layers in results.items()
        for layer, readings in layers.items()
        for key, r in readings.items()
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(FRAME_COLUMNS))
    numbers = ["value", "null_mean", "floor", "low", "high", "ideal"]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def layer_frame(results: Results) -> pd.DataFrame:
    """One row a split and layer, a column a key; NaN where a layer lacks a reading."""
    import pandas as pd

    rows: list[dict[str, Any]] = [
        {"split": split, "layer": layer, **{key: r.value for key, r in readings.items()}}
        for split, layers in results.items()
        for layer, readings in layers.items()
    ]
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(frame.columns[2:], "float64"))


def class_frame(rows: Iterable[ClassRow]) -> pd.DataFrame:
    """One row a class, split and layer."""
    import pandas as pd

    return pd.DataFrame([astuple(row) for row in rows], columns=list(CLASS_COLUMNS))


def write_classes(path: Path | str, rows: Iterable[ClassRow]) -> None:
    """One line a class, split and layer."""
    _write(Path(path), CLASS_COLUMNS, (astuple(row) for row in rows))


def read_classes(path: Path | str) -> list[ClassRow]:
    """Rows of a classes.csv. ValueError when columns are missing or a row is cut or damaged."""
    rows = []
    for number, row in read_table(Path(path), tuple(c for c in CLASS_COLUMNS if c not in NEWER)):
        try:
            rows.append(
                ClassRow(
                    split=row["split"],
                    layer=row["layer"],
                    name=row["name"],
                    index=count(row["index"]),
                    count=count(row["count"]),
                    norm=finite(row["norm"]),
                    within=finite(row["within"]),
                    nearest=row["nearest"],
                    distance=finite(row["distance"]),
                    cosine=finite(row["cosine"]) if row["cosine"] else None,
                    accuracy=finite(row["accuracy"]) if row["accuracy"] else None,
                    share=finite(row["share"]) if row.get("share") else None,
                    rival=row.get("rival", ""),
                    rank=finite(row["rank"]) if row.get("rank") else None,
                )
            )
        except ValueError as error:
            raise ValueError(f"{path} is damaged in line {number}: {error}") from None
    return rows


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a table with these columns. ValueError for other columns, and for rows that
    are cut or have other fields."""
    text = path.read_text(encoding="utf-8")
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
    try:
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        if not text.endswith("\n"):
            raise ValueError(f"{path} is cut in its last line; write the run again")
        for row in reader:
            if "" in row or len(row) != len(reader.fieldnames or ()):
                raise ValueError(f"{path} is damaged in line {reader.line_num}: fields too many")
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"{path} is damaged in line {reader.line_num + 1}: {error}") from None


def finite(cell: str) -> float:
    """A number that is neither NaN nor infinite."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{cell[:40]!r} is no finite number")
    return value


def count(cell: str) -> int:
    """A whole number that an array can count to."""
    if not (cell.isdecimal() and len(cell) < 20 and int(cell) <= LARGEST):
        raise ValueError(f"{cell[:40]!r} is no count")
    return int(cell)


def write_layers(path: Path | str, results: Results) -> None:
    """One line a reading: the numbers of results.json as a table."""
    rows = (
        (
            split,
            layer,
            key,
            reading.value,
            None if reading.null is None else reading.null.mean,
            reading.floor,
            *(reading.interval or (None, None)),
            reading.ideal,
            reading.n,
            reading.definition,
            reading.estimate,
        )
        for split, layers in results.items()
        for layer, readings in layers.items()
        for key, reading in readings.items()
    )
    _write(Path(path), LAYER_COLUMNS, rows)


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())
