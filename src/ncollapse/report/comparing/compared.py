"""compare: runs side by side, each reading with its interval, and what differs beyond noise."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.answers.questions import identified
from ncollapse.metrics.catalog import METRICS, shown
from ncollapse.record.document import Document, read_document
from ncollapse.record.folder import TRACE, part
from ncollapse.record.readings import Reading
from ncollapse.record.trace import Trace
from ncollapse.report.comparing.difference import Difference, difference
from ncollapse.report.terminal import unlike

if TYPE_CHECKING:
    import pandas as pd

MOST = 200
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
            _setting(name, document, x)
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

    def _repr_html_(self) -> str:
        from ncollapse.report.comparing.tables import html

        return html(self)


def compare(
    runs: Mapping[str, Any] | Sequence[Any],
    *,
    keys: Sequence[str] | None = None,
    split: str | None = None,
    layer: str | None = None,
    baseline: str | None = None,
) -> Compared:
    """Runs side by side: measurements, documents, run folders or results.json, by name.

    runs: {"name": run, …}, or paths alone, which are named by where they differ. A reading is
    compared with that of `baseline` (the first run) and said to differ where the 95 % interval of
    the difference leaves 0 out (`ncollapse.report.comparing.difference`). keys, split, layer: keep
    those readings only.

    >>> c = compare({"early": "runs/a", "late": "runs/b"})     # doctest: +SKIP
    >>> print(c.to_latex(["class_share", "nc1_fisher"]))       # doctest: +SKIP

    Raises ValueError for fewer than 2 runs or more than 200, names that stand twice, an unknown
    baseline, key, split or layer, and runs that share no reading.
    """
    runs = [runs] if isinstance(runs, (str, Path)) else runs
    named = dict(runs) if isinstance(runs, Mapping) else _by_path(list(runs))
    if not 2 <= len(named) <= MOST:
        raise ValueError(
            f"{len(named)} run{'s were' if len(named) != 1 else ' was'} given; 2 to {MOST} are "
            "needed, by name or as paths of run folders"
        )
    names = tuple(str(name) for name in named)
    first = names[0] if baseline is None else baseline
    if first not in names:
        raise ValueError(f"baseline {first!r} is no run; one of {', '.join(names[:20])} is needed")
    known = [_known(value) for value in named.values()]
    documents = tuple(document for document, _, _ in known)
    _check(documents, keys, split, layer)
    place = names.index(first)
    rows = tuple(_rows(documents, place, keys, split, layer))
    if not rows:
        raise ValueError(
            f"the {len(names)} runs {', '.join(names[:4])} share no reading; runs of one task that "
            "read the same layers are needed"
        )
    return Compared(
        names, documents, rows, place, tuple(p for _, p, _ in known), tuple(t for _, _, t in known)
    )


def _known(value: Any) -> tuple[Document, Path | None, Trace | None]:
    if isinstance(value, Document):
        return value, None, None
    if isinstance(value, (str, Path)):
        return read_document(value), Path(value), None
    document = getattr(value, "document", None)
    if isinstance(document, Document):
        return document, None, getattr(value, "trace", None)
    raise ValueError(
        f"a run was given as a {type(value).__name__}; a Measurement, a Document, or the path of a "
        "run folder or results.json is needed"
    )


def _trace(place: Path) -> Trace | None:
    folder = place if place.is_dir() else place.parent
    found = part(folder, TRACE)
    return None if found is None else Trace.load(found)


def _rows(
    documents: tuple[Document, ...],
    baseline: int,
    keys: Sequence[str] | None,
    split: str | None,
    layer: str | None,
) -> Iterator[Row]:
    places: dict[tuple[str, str, str], None] = {}
    for document in (documents[baseline], *documents):
        for s, layers in document.results.items():
            for name, readings in layers.items():
                if split in (None, s) and layer in (None, name):
                    places |= {(s, name, k): None for k in readings if keys is None or k in keys}
    for s, name, key in places:
        found = tuple(d.results.get(s, {}).get(name, {}).get(key) for d in documents)
        if sum(reading is not None for reading in found) < 2:
            continue
        mine = found[baseline]
        gaps = tuple(
            None
            if place == baseline or reading is None or mine is None
            else difference(key, mine, reading)
            for place, reading in enumerate(found)
        )
        yield Row(s, name, key, found, gaps)


def _check(
    documents: tuple[Document, ...],
    keys: Sequence[str] | None,
    split: str | None,
    layer: str | None,
) -> None:
    splits = dict.fromkeys(s for d in documents for s in d.results)
    layers = dict.fromkeys(n for d in documents for found in d.results.values() for n in found)
    for what, asked, there in (("split", split, splits), ("layer", layer, layers)):
        if asked is not None and asked not in there:
            raise ValueError(f"{what} {asked!r} is in no run; name one of {', '.join(there)}")
    for key in keys or ():
        if key not in METRICS:
            near = difflib.get_close_matches(key, METRICS, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else "see `ncollapse explain`"
            raise ValueError(f"key {key!r} is no metric; {hint}")


def _by_path(paths: Sequence[Any]) -> dict[str, Any]:
    """Runs named by the parts of their paths that tell them apart."""
    if not all(isinstance(path, (str, Path)) for path in paths):
        raise ValueError(
            "runs that are no paths were passed as a list; names are needed: "
            "compare({'name': run, …})"
        )
    parts = [
        (path.parent if path.suffix == ".json" else path).absolute().parts
        for path in map(Path, paths)
    ]
    count = min(map(len, parts), default=0)
    same = [len({p[i] for p in parts}) == 1 for i in range(count)]
    start = next((i for i, alike in enumerate(same) if not alike), max(count - 1, 0))
    named: dict[str, Any] = {}
    for path, found in zip(paths, parts, strict=True):
        name = "/".join(found[start:]) or str(path)
        number = sum(known.partition("#")[0] == name for known in named)
        named[f"{name}#{number + 1}" if number else name] = path
    return named


def _setting(name: str, document: Document, x: str) -> float | str:
    if x == "name":
        numbers = re.findall(r"(?:(?<==)-)?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", name)
        if not numbers:
            raise ValueError(f"the name {name!r} holds no number; name runs NAME=PATH, or pass x=")
        return float(numbers[-1])
    known = flat(document)
    found = known.get(x, known.get(f"config.{x}"))
    if found is None:
        near = difflib.get_close_matches(x, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "name one such as config.seed"
        raise ValueError(f"run {name!r} has no setting {x!r}; {hint}")
    return found


def flat(document: Document) -> dict[str, float | str]:
    """Numbers and words of a document's settings by dotted path."""
    whole = {
        "config": document.config,
        "environment": document.environment,
        "num_classes": document.num_classes,
        "num_features": document.num_features,
        "num_samples": document.num_samples,
        "source": document.source,
        "date": document.date,
    }
    found: dict[str, float | str] = {}

    def walk(value: Any, place: str) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, f"{place}.{key}" if place else str(key))
        elif isinstance(value, bool):
            found[place] = str(value).lower()
        elif isinstance(value, (int, float)):
            found[place] = float(value)
        elif isinstance(value, str):
            found[place] = value

    walk(whole, "")
    return found


def _some(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
