"""The tables beside results.json: classes.csv and layers.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path

from ncollapse.schema import ClassRow, Results, write_text

CLASS_COLUMNS = tuple(column.name for column in fields(ClassRow))
LAYER_COLUMNS = (
    "split", "layer", "key", "value", "null", "floor", "low", "high", "ideal", "n", "definition",
)  # fmt: skip


def write_classes(path: Path | str, rows: Iterable[ClassRow]) -> None:
    """One line a class, split and layer."""
    _write(Path(path), CLASS_COLUMNS, (astuple(row) for row in rows))


def read_classes(path: Path | str) -> list[ClassRow]:
    """Rows of a classes.csv. ValueError when columns are missing."""
    with Path(path).open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        missing = set(CLASS_COLUMNS) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        return [
            ClassRow(
                split=row["split"],
                layer=row["layer"],
                name=row["name"],
                index=int(row["index"]),
                count=int(row["count"]),
                norm=float(row["norm"]),
                within=float(row["within"]),
                nearest=row["nearest"],
                distance=float(row["distance"]),
                cosine=float(row["cosine"]) if row["cosine"] else None,
                accuracy=float(row["accuracy"]) if row["accuracy"] else None,
            )
            for row in reader
        ]


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
