""".parquet tables: `labels` beside a list column `features`, or columns f0, f1, …"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncollapse.sources.features.arrays import as_tensor
from ncollapse.sources.features.store import Store

LABELS = ("labels", "label")


class ParquetSource(Store):
    """Features of a parquet table, row group by row group. Needs pyarrow (extra `data`)."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow.parquet as parquet
            from pyarrow import ArrowInvalid
        except ImportError:
            raise ValueError(
                f"{path}: reading parquet needs pyarrow; pip install 'ncollapse[data]'"
            ) from None
        try:
            self._file = parquet.ParquetFile(path)
        except (ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is no valid parquet file ({error}); save it again") from None
        columns = list(self._file.schema_arrow.names)
        numbered = [name for name in columns if re.fullmatch(r"f\d+", name)]
        self._columns = (
            ["features"] if "features" in columns else sorted(numbered, key=lambda n: int(n[1:]))
        )
        label = next((name for name in LABELS if name in columns), None)
        self._label = label or "labels"
        # A table has one row a sample: a head cannot stand in it.
        names = set(columns) & {"split"}
        names |= {"features"} if self._columns else set()
        names |= {"labels"} if label else set()
        super().__init__(path, tuple(names))
        self._require()
        total = int(self._file.metadata.num_rows)
        if total == 0:
            raise ValueError(f"{path}: the table has no rows; no samples to measure")
        first = next(self.rows(0, 1))
        self._finish((total, first.shape[1]), first.dtype)

    def read(self, name: str) -> Any:
        column = self._label if name == "labels" else name
        values = self._file.read([column]).column(0).to_numpy()
        return as_tensor(values) if name == "labels" else values

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        place = 0
        for batch in self._file.iter_batches(batch_size=size, columns=self._columns):
            stop = place + batch.num_rows
            if stop > start:
                yield self._matrix(batch.slice(max(0, start - place)))
            place = stop

    def _matrix(self, batch: Any) -> Tensor:
        if self._columns != ["features"]:
            columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in self._columns]
            return torch.from_numpy(np.stack(columns, axis=1))
        column = batch.column("features")
        flat = column.flatten().to_numpy(zero_copy_only=False)
        if batch.num_rows == 0 or len(flat) % batch.num_rows:
            raise ValueError(f"{self.path}: rows of features differ in length; one width is needed")
        return torch.from_numpy(np.array(flat.reshape(batch.num_rows, -1)))
