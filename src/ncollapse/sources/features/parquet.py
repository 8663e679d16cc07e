""".parquet tables: `labels` beside a list column `features`, or columns f0, f1, …"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ncollapse.sources.features.given import as_tensor, floats
from ncollapse.sources.features.keys import FEATURES, Keys, columns_of, found, listed
from ncollapse.sources.features.store import STANDARD, Store


def _number(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_floating(kind) or types.is_integer(kind))


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in lists)


class ParquetSource(Store):
    """Features of a parquet table, row group by row group. Needs pyarrow (extra `data`)."""

    _width: int | None = None
    _list: str | None = None

    def __init__(self, path: Path, keys: Keys | None = None) -> None:
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            raise ValueError(
                f"{path}: reading parquet needs pyarrow; pip install 'ncollapse[data]'"
            ) from None
        self.path = path
        with self._damage("is no valid parquet file"):
            # Where pages have checksums, which is the writer's choice.
            self._file = parquet.ParquetFile(path, page_checksum_verification=True)
            columns = list(self._file.schema_arrow.names)
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise ValueError(f"{path} has columns {', '.join(twice)} twice; name each once")
        self._choose(columns, keys or Keys())
        total = self.num_samples = int(self._file.metadata.num_rows)
        if total == 0:
            raise ValueError(f"{path}: the table has no rows; no samples to measure")
        if self._list is not None:
            self._check_list()
        first = next(self.rows(0, 1))
        self._finish((total, first.shape[1]), first.dtype)

    def _choose(self, columns: list[str], keys: Keys) -> None:
        """Which columns are read: lists of numbers, or numbers a column, and the labels."""
        self._there = columns
        kinds = {name: self._file.schema_arrow.field(name).type for name in columns}
        lists = [name for name, kind in kinds.items() if _is_list(kind)]
        self._list = found(lists, FEATURES) if keys.features is None else None
        if keys.features in kinds:
            self._list = keys.features
        if self._list is None:
            self._list = "features" if "features" in columns else None
        numeric = {name: _number(kind) for name, kind in kinds.items() if name not in lists}
        left: list[str] = []
        if self._list is None:
            self._columns, label, left = columns_of(numeric, keys, str(self.path))
        else:
            asked = Keys(None, keys.labels, keys.given)
            self._columns = [self._list]
            _, label, _ = columns_of(numeric | {self._list: True}, asked, str(self.path))
        # A table has one row a sample: a head cannot stand in it.
        names = set(columns) & {"split", "targets"}
        names |= {"features"} if self._columns else set()
        names |= {"labels"} if label else set()
        self._label = label or "labels"
        super().__init__(self.path, tuple(sorted(names)), Keys(None, None, keys.given))
        if left:
            self.notes += (f"{self.path.name}: columns {listed(left)} are left out",)
        odd = [
            f"{word} from {name!r}"
            for word, name, asked_for in (
                ("features", self._list, keys.features),
                ("labels", label, keys.labels),
            )
            if name is not None and asked_for is None and name not in STANDARD[word]
        ]
        if odd:
            self.notes += (f"{self.path.name}: {', '.join(odd)}",)

    def _held(self) -> list[str]:
        return self._there

    def _check_list(self) -> None:
        kind = self._file.schema_arrow.field(self._list).type
        if not _is_list(kind) or not _number(kind.value_type):
            raise ValueError(
                f"{self.path}: features are a column of {kind}; lists of numbers, or columns f0, "
                "f1, … are needed"
            )

    def read(self, name: str) -> Any:
        column = self._label if name == "labels" else name
        with self._damage(f"is damaged in column {column}"):
            found = self._file.read([column]).column(0)
            # Lists of numbers, one a row.
            if name == "targets" and _is_list(found.type):
                return np.array(found.to_pylist())
            return found.to_numpy()

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        place = 0
        with self._damage("is damaged"):
            for batch in self._file.iter_batches(batch_size=size, columns=self._columns):
                stop = place + batch.num_rows
                if stop > start:
                    yield floats(self._matrix(batch.slice(max(0, start - place))))
                place = stop
        if place != self.num_samples:
            raise ValueError(
                f"{self.path} is damaged: {self.num_samples} rows are claimed and {place} are "
                "there; save it again"
            )

    @contextmanager
    def _damage(self, what: str) -> Iterator[None]:
        """What pyarrow says of a damaged file, in one sentence: it has an exception a kind."""
        from pyarrow import ArrowException

        try:
            yield
        except PermissionError:
            raise
        except (
            ArrowException, OSError, RuntimeError, UnicodeError, TypeError, KeyError, MemoryError
        ) as error:  # fmt: skip
            said = " ".join(str(error).split())
            raise ValueError(f"{self.path} {what} ({said}); save it again") from None

    def _matrix(self, batch: Any) -> Tensor:
        if self._list is None:
            columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in self._columns]
            return as_tensor(np.stack(columns, axis=1))
        import pyarrow.compute as compute

        column = batch.column(self._list)
        lengths = compute.list_value_length(column)
        flat = column.flatten()
        holes = column.null_count + flat.null_count
        # Row by row, and against the first row of the table: totals may agree where lengths do not.
        found = compute.unique(lengths).to_pylist() if not holes else []
        width = self._width if self._width is not None else (found or [None])[0]
        if holes or found != [width]:
            what = f"{holes} of them are null or hold nulls" if holes else "they differ in length"
            raise ValueError(
                f"{self.path}: rows of features are needed that all have "
                f"{width or 'as many'} numbers, and {what}"
            )
        self._width = width
        values = flat.to_numpy(zero_copy_only=False)
        return as_tensor(np.array(values.reshape(batch.num_rows, -1)))
