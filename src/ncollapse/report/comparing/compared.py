"""Runs side by side, each reading with its interval, and what differs beyond noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.answers.questions import identified
from ncollapse.metrics.catalog import shown
from ncollapse.record.document import Document
from ncollapse.record.folder import TRACE, part
from ncollapse.record.readings import Reading
from ncollapse.record.trace import Trace
from ncollapse.report.comparing.difference import Difference
from ncollapse.report.comparing.settings import setting
from ncollapse.report.terminal import unlike

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "run", "split", "layer", "key", "value", "low", "high", "difference", "difference_low",
    "difference_high", "differs", "n", "definition",
)  # fmt: skip
NOISE = (
    "Intervals are of draws of the data with each network fixed: what training again would give "
    "is not in them."
)


@dataclass(frozen=True)
class Row:
    """One reading of every run, and how it differs from that of the baseline."""

    split: str
    layer: str
    key: str
    readings: tuple[Reading | None, ...]
    differences: tuple[Difference | None, ...]


@dataclass(frozen=True, eq=False)
class Compared:
    """Runs by name, their documents and the readings that two of them share, or more.

    `print(c)` shows the headline readings, one line a run; `to_frame` holds every number;
    `to_markdown`, `to_latex` and `plot` make tables and figures. baseline: the place of the run
    that all others are compared with.
    """

    names: tuple[str, ...]
    documents: tuple[Document, ...]
    rows: tuple[Row, ...]
    baseline: int = 0
    places: tuple[Path | None, ...] = ()
    known: tuple[Trace | None, ...] = ()

    @property
    def unlike(self) -> list[str]:
        """What readings depend on and runs differ in, as sentences."""
        mine = self.documents[self.baseline]
        found: dict[str, list[str]] = {}
        for name, other in zip(self.names, self.documents, strict=True):
            if other is not mine:
                for said in unlike(mine, other):
                    found.setdefault(said, []).append(name)
        return [f"{said} ({_some(names)})" for said, names in found.items()]

    @property
    def chance(self) -> int:
        """How many differences were tested; one in twenty is found by chance alone."""
        return sum(
            d is not None and d.differs is not None for r in self.rows for d in r.differences
        )

    @property
    def answers(self) -> list[tuple[str, str, tuple[str | None, ...]]]:
        """(id, question, answers) of what two runs answer, or more; None where one does not."""
        said: dict[str, dict[int, str]] = {}
        asked: dict[str, str] = {}
        for place, document in enumerate(self.documents):
            for verdict in document.verdicts:
                said.setdefault(identified(verdict), {})[place] = verdict.answer
                asked.setdefault(identified(verdict), verdict.question)
        whole = range(len(self.documents))
        return [
            (name, asked[name], tuple(found.get(place) for place in whole))
            for name, found in said.items()
            if len(found) > 1
        ]

    def headline(self, keys: Sequence[str] | None = None) -> tuple[Row, ...]:
        """The rows of `keys`; else those that the terminal shows of the baseline's reference split
        and its last layer."""
        if keys is not None:
            return tuple(row for row in self.rows if row.key in keys)
        document = self.documents[self.baseline]
        place = "alone" if document.task == "weights" else "terminal"
        task = "classification" if place == "alone" else document.task
        ranked = dict.fromkeys(
            row.key for crowded in (False, True) for row, _ in shown(place, task, crowded=crowded)
        )
        splits = {row.split for row in self.rows}
        layers = {row.layer for row in self.rows}
        split = document.reference if document.reference in splits else next(iter(splits), "")
        layer = document.layer if document.layer in layers else next(iter(layers), "")
        mine = {row.key: row for row in self.rows if (row.split, row.layer) == (split, layer)}
        return tuple(mine[key] for key in ranked if key in mine) or tuple(mine.values())

    def traces(self) -> tuple[Trace | None, ...]:
        """Readings along training, of the runs that keep them."""
        return tuple(
            trace if trace is not None or place is None else _trace(place)
            for trace, place in zip(self.known, self.places, strict=True)
        )

    def along(self, x: str) -> list[float | str]:
        """A setting of every run: "name" (the last number in its name), or a path into its
        results.json such as "config.seed", "num_classes" or "config.splits.train".

        Raises ValueError where a run has no such setting, with the nearest that it has.
        """
        return [
            setting(name, document, x)
            for name, document in zip(self.names, self.documents, strict=True)
        ]

    def to_frame(self) -> pd.DataFrame:
        """One line a run and reading: value (the estimate where there is one), interval, difference
        from the baseline with its interval, and whether it lies beyond noise."""
        import pandas as pd

        frame = pd.DataFrame(list(self.lines()), columns=list(COLUMNS))
        numbers = list(COLUMNS[4:10])
        return frame.astype(dict.fromkeys(numbers, "float64"))

    def lines(self) -> Iterator[tuple[Any, ...]]:
        """The lines of `to_frame`."""
        for row in self.rows:
            for name, reading, gap in zip(self.names, row.readings, row.differences, strict=True):
                if reading is None:
                    continue
                ends = reading.interval or (None, None)
                apart = Difference(None) if gap is None else gap
                yield (
                    name, row.split, row.layer, row.key, reading.best, *ends, apart.value,
                    *(apart.interval or (None, None)), apart.differs, reading.n, reading.definition,
                )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain data: runs, what they differ in, readings and answers."""
        from ncollapse.report.comparing.tables import as_dict

        return as_dict(self)

    def to_markdown(self, keys: Sequence[str] | None = None, *, x: str | None = None) -> str:
        """The headline readings, or those of `keys`, one line a run; x: a column of a setting, by
        which runs are sorted."""
        from ncollapse.report.comparing.tables import markdown

        return markdown(self, keys, x)

    def to_latex(self, keys: Sequence[str] | None = None, *, x: str | None = None) -> str:
        """The same as a tabular for the package booktabs."""
        from ncollapse.report.comparing.tables import latex

        return latex(self, keys, x)

    def plot(
        self, x: str | None = None, keys: Sequence[str] | None = None, *, ax: Any = None
    ) -> Any:
        """(figure, axes): readings with intervals against a setting (see `along`), against "step"
        or "epoch" (the curves of runs that keep a trace), or by run. One panel a key; ax: where to
        draw a single one. Nothing is shown and no backend touched: figure.savefig writes it.
        """
        from ncollapse.report.plots.sweep import sweep_plot

        return sweep_plot(self, x, keys, ax)

    def __str__(self) -> str:
        from ncollapse.report.comparing.tables import text

        return text(self)

    def __repr__(self) -> str:
        runs = f"{len(self.names)} runs against {self.names[self.baseline]}"
        return f"<Compared: {runs}; {len(self.rows)} readings>"

    def _repr_html_(self) -> str:
        from ncollapse.report.comparing.tables import html

        return html(self)


def _trace(place: Path) -> Trace | None:
    folder = place if place.is_dir() else place.parent
    found = part(folder, TRACE)
    return None if found is None else Trace.load(found)


def _some(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
