""".csv and .tsv tables, plain or packed by gzip: a row a sample, read in blocks of rows."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor

from ncollapse.sources.features.keys import LABELS, SPLIT, Keys, columns_of, found, listed
from ncollapse.sources.features.store import BLOCK_ROWS, Store

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
SEPARATORS = (",", ";", "\t")
# Fewer columns than this are no numbered header.
LEAST = 3


class CsvSource(Store):
    """Features of a table of texts, float64. Columns are found as `columns_of` says; where the
    first row holds numbers there is no header, and columns are called 0, 1, …: labels are then the
    one column of texts, else the last or first column where that alone holds whole numbers."""

    def __init__(self, path: Path, keys: Keys | None = None) -> None:
        self.path = path
        keys = keys or Keys()
        first, second = _two_lines(path)
        self._separator = _separator(path, first)
        cells, after = (_cells(line, self._separator) for line in (first, second))
        self._header = _is_header(cells, bool(second.strip()))
        if len(after) > 1 and len(after) != len(cells):
            raise ValueError(
                f"{path}: the first row has {len(cells)} cells and the second {len(after)}; one "
                "cell a column is needed in every row"
            )
        self._names = [c.strip() for c in cells] if self._header else _places(len(cells))
        twice = sorted({name for name in self._names if self._names.count(name) > 1})
        if twice:
            raise ValueError(f"{path} has columns {', '.join(twice)} twice; name each once")
        if len(cells) < 2 and keys.given is None:
            raise ValueError(
                f"{path} has one column; features and labels are needed, each row with the same "
                "number of cells between commas, semicolons or tabs"
            )
        block = next(self._blocks(None, 0, BLOCK_ROWS), None)
        if block is None or not len(block):
            raise ValueError(f"{path}: the table has no rows; no samples to measure")
        numeric = {name: block[name].dtype.kind in "fiub" for name in self._names}
        if not self._header and keys.labels is None and keys.given is None:
            keys = Keys(keys.features, _bare_label(block, numeric, path))
        self._columns, label, left = columns_of(numeric, keys, str(path))
        self._label = label
        names = {"features"} if self._columns else set()
        names |= {"labels"} if label is not None else set()
        names |= {SPLIT} if SPLIT in self._names else set()
        self._whole: dict[str, list[Any]] = {}
        super().__init__(path, tuple(sorted(names)), Keys(None, None, keys.given))
        count = self._read_beside()
        self._finish((count, len(self._columns)), torch.float64)
        self._say(label, left, keys)

    def _held(self) -> list[str]:
        return self._names

    def _say(self, label: str | None, left: list[str], keys: Keys) -> None:
        if left:
            self.notes += (f"{self.path.name}: columns {listed(left)} are left out",)
        if not self._header:
            said = "" if label is None else f", and labels are column {label}"
            self.notes += (f"{self.path.name}: the first row is taken for a sample{said}",)
        elif label is not None and keys.labels is None and label.lower() not in LABELS:
            self.notes += (f"{self.path.name}: labels from {label!r}, the one column of texts",)

    def _read_beside(self) -> int:
        """Labels and split of all rows, and how many there are."""
        beside = [name for name in (self._label, SPLIT) if name in self._names]
        count = 0
        for block in self._blocks(beside or self._names[:1], 0, BLOCK_ROWS):
            count += len(block)
            for name in beside:
                self._whole.setdefault(name, []).append(block[name])
        return count

    def read(self, name: str) -> Any:
        import pandas as pd

        column = self._label if name == "labels" else name
        parts = self._whole[str(column)]
        return pd.concat(parts) if len({part.dtype for part in parts}) == 1 else _texts(parts)

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        for block in self._blocks(self._columns, start, size):
            try:
                values = block[self._columns].to_numpy(dtype=np.float64)
            except ValueError:
                wrong = [name for name in self._columns if block[name].dtype.kind not in "fiub"]
                raise ValueError(
                    f"{self.path}: column {wrong[0]!r} holds texts as well as numbers; repair it, "
                    "or choose columns by features_key= (--features-key 'f*')"
                ) from None
            yield torch.from_numpy(np.array(values))

    def _blocks(self, columns: list[str] | None, start: int, size: int) -> Iterator[Any]:
        import pandas as pd

        skipped = start + (1 if self._header else 0)
        try:
            with pd.read_csv(
                self.path,
                sep=self._separator,
                header=None,
                names=self._names,
                usecols=columns,
                skiprows=skipped,
                chunksize=size,
                skip_blank_lines=True,
                index_col=False,
                encoding="utf-8-sig",
            ) as reader:
                yield from reader
        except pd.errors.EmptyDataError:
            return
        except (pd.errors.ParserError, UnicodeError, OSError, EOFError) as error:
            said = " ".join(str(error).split())
            said = said.removeprefix("Error tokenizing data. C error: ")
            raise ValueError(
                f"{self.path} is no table of {self._separator!r}-separated rows ({said}); one cell "
                "a column is needed in every row: save it again"
            ) from None


def _two_lines(path: Path) -> tuple[str, str]:
    """The first two lines that are not blank."""
    opened: Callable[..., TextIO] = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as lines:
            told = (line for line in lines if line.strip())
            return next(told, ""), next(told, "")
    except (UnicodeError, OSError, EOFError) as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(f"{path} is no table of texts ({error}); save it as UTF-8") from None


def _separator(path: Path, line: str) -> str:
    if ".tsv" in path.name.lower():
        return "\t"
    return max(SEPARATORS, key=line.count)


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])


def _places(count: int) -> list[str]:
    return [str(place) for place in range(count)]


def _is_header(cells: list[str], more: bool) -> bool:
    """Whether the first row names columns: no cell is a number, or they count from 0, as those of a
    table without names do."""
    numbers = [cell for cell in cells if _number(cell)]
    if not numbers:
        return more
    return numbers == _places(len(numbers)) and len(numbers) >= LEAST


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _bare_label(block: Any, numeric: dict[str, bool], path: Path) -> str:
    """The column of labels in a table without header. Raises ValueError where nothing tells."""
    texts = [name for name, number in numeric.items() if not number]
    if len(texts) == 1:
        return texts[0]
    whole = [
        name
        for name, number in numeric.items()
        if number and bool((block[name] == block[name].round()).all()) and block[name].min() >= 0
    ]
    ends = [name for name in (list(numeric)[-1], next(iter(numeric))) if name in whole]
    if not texts and ends and len(whole) == 1:
        return ends[0]
    raise ValueError(
        f"{path} has no header and nothing tells which of its {len(numeric)} columns holds the "
        f"labels; pass labels_key= (--labels-key), the number of the column from 0, such as "
        f"{list(numeric)[-1]}"
    )


def _texts(parts: list[Any]) -> Any:
    """Blocks of one column that were read as other kinds: as the texts that stand there."""
    import pandas as pd

    return pd.concat([part.astype(object) for part in parts])


def file_of_labels(path: Path) -> Any:
    """A file that holds labels alone, one a line, or one column of a table."""
    import pandas as pd

    first, _ = _two_lines(path)
    cells = _cells(first, _separator(path, first))
    header = found([cell.strip() for cell in cells], LABELS)
    frame = pd.read_csv(path, sep=_separator(path, first), header=None if header is None else 0)
    if header is not None:
        frame = frame.rename(columns=str.strip)
        return frame[header]
    if frame.shape[1] != 1:
        raise ValueError(
            f"{path}: labels are one a line, or the column {LABELS[0]!r} of a table; there are "
            f"{frame.shape[1]} columns"
        )
    return frame.iloc[:, 0]
