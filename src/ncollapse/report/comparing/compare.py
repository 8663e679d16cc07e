"""nc.compare: runs by name, whatever they are given as, and the readings that they share."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ncollapse.metrics.catalog import METRICS
from ncollapse.record.document import Document, read_document
from ncollapse.record.trace import Trace
from ncollapse.report.comparing.compared import Compared, Row
from ncollapse.report.comparing.difference import difference

MOST = 200


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
        f"a run was given of type {type(value).__name__}; a Measurement, a Document, or the path "
        "of a run folder or results.json is needed"
    )


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
