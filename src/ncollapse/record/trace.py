"""Trace: readings over steps, splits and layers; appended crash-safely, one line a reading."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from ncollapse.figures import Shown, as_json
from ncollapse.record.atomic import write_text
from ncollapse.record.tables import count, finite

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("step", "epoch", "split", "layer", "key", "value")
NEEDED = f"a table with the columns {', '.join(COLUMNS)} is needed"
# Where a dial's rows stand, and what they tell beside its reading.
DIAL = "dial"
TARGET, WEIGHT, SATURATED = "target", "weight", "saturated"
# Before the number of a class whose effective rank a row tells.
CLASS_RANK = "class_rank:"
# What certifying writes: the loss, its floor, the share above it, its parts (spread within classes,
# shape of the class means, norm that makes no logits), and the fitted τ.
CERTIFIED = (
    "ufm_loss", "ufm_floor", "ufm_gap", "ufm_gap_spread", "ufm_gap_shape", "ufm_gap_norm",
    "ufm_tau",
)  # fmt: skip
TAIL = 4096


class NoTraceError(ValueError):
    """A file of other columns."""


@dataclass(frozen=True)
class TraceRow:
    """One reading at one step; value is None where it could not be read."""

    step: int
    epoch: float | None
    split: str
    layer: str
    key: str
    value: float | None


@dataclass
class Trace(Shown):
    """Rows in order of time. With a `path` every append is flushed to disk before it returns;
    a line cut by a crash is dropped when the file is read or continued."""

    _shown: ClassVar[str] = "render_trace"
    rows: list[TraceRow] = field(default_factory=list)
    path: Path | None = None

    def append(
        self,
        step: int,
        readings: Mapping[str, float | None],
        *,
        split: str,
        layer: str = "head",
        epoch: float | None = None,
    ) -> None:
        """Add the readings of one split and layer at one step."""
        new = [TraceRow(step, epoch, split, layer, key, value) for key, value in readings.items()]
        self.rows += new
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as handle:
            size = _whole(handle)
            handle.truncate(size)
            handle.write(_lines(new, header=size == 0).encode())
            handle.flush()
            os.fsync(handle.fileno())

    def save(self, path: Path | str) -> None:
        """Write all rows, whole or not at all."""
        write_text(Path(path), _lines(self.rows, header=True))

    @classmethod
    def load(cls, path: Path | str) -> Trace:
        """Read a trace.csv; a last line without its end is dropped. ValueError for other files."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise NoTraceError(f"{path} is no trace.csv, but no text ({error}); {NEEDED}") from None
        except (FileNotFoundError, IsADirectoryError):
            raise NoTraceError(f"{path} is no file; {NEEDED}, as nc.Tracker writes it") from None
        whole = text[: text.rfind("\n") + 1]
        reader = csv.DictReader(io.StringIO(whole, newline=""), restval="")
        try:
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise NoTraceError(f"{path} is no trace.csv; {NEEDED}")
            return cls([_row(row) for row in reader])
        except NoTraceError:
            raise
        except csv.Error as error:
            raise ValueError(f"{path} is damaged in line {reader.line_num + 1}: {error}") from None
        except ValueError as error:
            raise ValueError(f"{path} is damaged in line {reader.line_num}: {error}") from None

    def series(self, split: str, layer: str, key: str) -> tuple[list[int], list[float | None]]:
        """Steps and values of one reading."""
        found = [r for r in self.rows if (r.split, r.layer, r.key) == (split, layer, key)]
        return [row.step for row in found], [row.value for row in found]

    def before(self, step: int) -> Trace:
        """The rows of earlier steps: what a resumed run keeps."""
        return Trace([row for row in self.rows if row.step < step])

    def __repr__(self) -> str:
        if not self.rows:
            return "Trace(empty)"
        steps = [row.step for row in self.rows]
        splits = ", ".join(dict.fromkeys(row.split for row in self.rows))
        keys = len({row.key for row in self.rows})
        return (
            f"Trace({len(steps):,} rows: {keys} readings of {splits}; steps {min(steps)} to "
            f"{max(steps)})"
        )

    def to_dict(self) -> dict[str, list[Any]]:
        """Columns: step, epoch, split, layer, key and value, each a list with an entry a row; null
        where a value could not be read."""
        return {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}

    def to_json(self) -> str:
        """`to_dict` as text."""
        return as_json(self.to_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trace:
        """Rebuild what `to_dict` gave."""
        return cls([TraceRow(*row) for row in zip(*(data[n] for n in COLUMNS), strict=True)])

    def _parts(self) -> dict[str, Any]:
        return {"trace": self}

    def to_frame(self) -> pd.DataFrame:
        """One row a reading."""
        import pandas as pd

        return pd.DataFrame([vars(row) for row in self.rows], columns=list(COLUMNS))


def _whole(handle: BinaryIO) -> int:
    """Bytes up to the end of the last whole line."""
    size = handle.seek(0, os.SEEK_END)
    while size:
        start = max(0, size - TAIL)
        handle.seek(start)
        tail = handle.read(size - start)
        end = tail.rfind(b"\n")
        if end >= 0:
            return start + end + 1
        size = start
    return 0


def _row(row: Mapping[str, str]) -> TraceRow:
    return TraceRow(
        step=count(row["step"]),
        epoch=finite(row["epoch"]) if row["epoch"] else None,
        split=row["split"],
        layer=row["layer"],
        key=row["key"],
        value=finite(row["value"]) if row["value"] else None,
    )


def _lines(rows: Iterable[TraceRow], *, header: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    writer.writerows(tuple(vars(row).values()) for row in rows)
    return text.getvalue()
