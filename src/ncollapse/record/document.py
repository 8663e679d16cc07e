"""results.json: everything that a measurement says, with the version that names its shape.

No torch here: reports, comparisons and checks read documents on any machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, cast

from ncollapse.record.atomic import write_text
from ncollapse.record.checks import record, records, text, texts, whole
from ncollapse.record.folder import RESULTS, part
from ncollapse.record.provenance import environment, git_hash, own_version
from ncollapse.record.readings import (
    ANSWERS,
    HEAD,
    ClassRow,
    Null,
    Number,
    Reading,
    Results,
    Verdict,
    reference_of,
)

# What a document is made of can be had from here too.
__all__ = [
    "ANSWERS", "ClassRow", "Document", "Null", "Number", "Reading", "Results", "Verdict",
    "json_schema", "read_document",
]  # fmt: skip
SCHEMA_VERSION = "1.4"
# What documents older than tasks are of.
USUAL, COUNTED = "classification", "classes"
# What every version of the file has held.
FIELDS = (
    "ncollapse_version", "date", "source", "config", "environment",
    "num_classes", "num_features", "num_samples", "results",
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    """Everything that results.json holds. paths: by split, how its samples walk through layers of
    one width (`ncollapse.metrics.geodesic`); since schema 1.3. ood: by name of foreign data, how
    well scores tell it apart (`ncollapse.downstream.section`); transfer: what a target set of
    other classes found in every layer (`ncollapse.downstream.transfer`); downstream: by name, what
    was read of other data, each {"title", "sentences", "numbers", "columns", "rows"}; since schema
    1.4."""

    schema_version: str
    ncollapse_version: str
    date: str
    source: str
    config: dict[str, Any]
    environment: dict[str, Any]
    git_hash: str | None
    num_classes: int
    num_features: int
    num_samples: int
    results: Results
    verdicts: tuple[Verdict, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    paths: dict[str, Any] = field(default_factory=dict)
    ood: dict[str, Any] = field(default_factory=dict)
    transfer: dict[str, Any] = field(default_factory=dict)
    downstream: dict[str, Any] = field(default_factory=dict)

    @property
    def layer(self) -> str:
        """The layer that verdicts are about: `head`, or the last one measured."""
        layers = next(iter(self.results.values()), {})
        return HEAD if HEAD in layers or not layers else list(layers)[-1]

    @property
    def task(self) -> str:
        """What labels mean; classification in documents older than tasks."""
        found = self.config.get("task")
        return str(found["name"]) if isinstance(found, dict) and "name" in found else USUAL

    @property
    def counted(self) -> str:
        """What `num_classes` counts, in a word: classes, or targets."""
        found = self.config.get("task")
        return str(found.get("counted", COUNTED)) if isinstance(found, dict) else COUNTED

    @property
    def reference(self) -> str:
        """The split whose means decide and of which verdicts speak; "" without results."""
        chosen = self.config.get("reference")
        if not self.results:
            return ""
        return reference_of(self.results, chosen if isinstance(chosen, str) else None)

    @property
    def given_splits(self) -> list[str]:
        """The splits without those that an attack made of others (`test@pgd`)."""
        made = "attack" in self.config
        return [split for split in self.results if not (made and "@" in split)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data without NaN or infinity: those become null, and a warning says so."""
        data = asdict(self)
        data["results"] = {
            split: {
                layer: {key: reading.to_dict() for key, reading in readings.items()}
                for layer, readings in layers.items()
            }
            for split, layers in self.results.items()
        }
        lost: list[str] = []
        cleaned = cast(dict[str, Any], _finite(data, "", lost))
        cleaned["verdicts"] = [dict(v) for v in cleaned["verdicts"]]
        cleaned["warnings"] = [*self.warnings, *(f"{place} is not finite: null" for place in lost)]
        return cleaned

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def __repr__(self) -> str:
        return f"<Document of {described(self)}>"

    @classmethod
    def build(
        cls,
        *,
        source: str,
        config: dict[str, Any],
        seed: int | None,
        data_hash: str | None,
        num_classes: int,
        num_features: int,
        num_samples: int,
        results: Results,
        verdicts: tuple[Verdict, ...],
        warnings: tuple[str, ...],
        paths: dict[str, Any] | None = None,
    ) -> Document:
        """A document of now and here: version, date, environment and commit are filled in."""
        return cls(
            schema_version=SCHEMA_VERSION,
            ncollapse_version=own_version(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            source=source,
            config=config,
            environment=environment(seed, data_hash),
            git_hash=git_hash(),
            num_classes=num_classes,
            num_features=num_features,
            num_samples=num_samples,
            results=results,
            verdicts=verdicts,
            warnings=warnings,
            paths=paths or {},
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], origin: str = "the document") -> Document:
        """Rebuild; unknown fields are ignored. ValueError for a newer major version, and for a
        field that is missing or of another type."""
        if not isinstance(data, Mapping):
            raise ValueError(
                f"{origin} is a {type(data).__name__}; the object of a results.json is needed"
            )
        version = str(data.get("schema_version", ""))
        major = version.partition(".")[0]
        if not major.isdecimal():
            raise ValueError(
                f"{origin} names no schema_version; the results.json of a run is needed"
            )
        if int(major) > int(SCHEMA_VERSION.partition(".")[0]):
            raise ValueError(
                f"{origin} has schema {version}, newer than {SCHEMA_VERSION} that this version "
                "reads; upgrade ncollapse"
            )
        for name in FIELDS:
            if name not in data:
                raise ValueError(
                    f"{origin} lacks {name!r}; a complete results.json is needed: write the run "
                    "again"
                )
        try:
            return cls(
                schema_version=version,
                ncollapse_version=text(data, "ncollapse_version"),
                date=text(data, "date"),
                source=text(data, "source"),
                config=record(data, "config"),
                environment=record(data, "environment"),
                git_hash=None if data.get("git_hash") is None else text(data, "git_hash"),
                num_classes=whole(data, "num_classes"),
                num_features=whole(data, "num_features"),
                num_samples=whole(data, "num_samples"),
                results=_results(record(data, "results")),
                verdicts=tuple(Verdict.from_dict(v) for v in records(data, "verdicts")),
                warnings=texts(data, "warnings"),
                paths=record(data, "paths") if "paths" in data else {},
                ood=_foreign(record(data, "ood")) if "ood" in data else {},
                transfer=_target(record(data, "transfer")) if "transfer" in data else {},
                downstream=_downstream(data),
            )
        except ValueError as error:
            raise ValueError(f"{origin} is damaged: {error}") from None

    def write(self, path: Path | str) -> None:
        """Write as JSON, atomically."""
        write_text(Path(path), self.to_json() + "\n")


def described(document: Document) -> str:
    """What a document is of, in one short line."""
    source = document.source
    sizes = document.config.get("splits")
    splits = ", ".join(
        f"{split} {sizes[split]:,}" if isinstance(sizes, dict) and split in sizes else split
        for split in list(document.results)[:4]
    )
    layers = {layer for found in document.results.values() for layer in found}
    number = sum(len(r) for found in document.results.values() for r in found.values())
    return (
        f"{source if len(source) <= 40 else source[:39] + '…'}: {document.num_classes:,} "
        f"{document.counted}, {document.num_features:,} features; {splits or 'no split'}; "
        f"{number} readings of {len(layers)} layer{'s' * (len(layers) != 1)}"
    )


def read_document(path: Path | str) -> Document:
    """Read a results.json (or the folder that holds one). ValueError says what is wrong."""
    place = results_of(path)
    if not place.exists():
        raise ValueError(f"{place} does not exist; pass a results.json or a run folder")
    data = read_json(place)
    if not isinstance(data, dict):
        raise ValueError(
            f"{place} holds a {type(data).__name__}; the object of a results.json is needed"
        )
    return Document.from_dict(data, str(place))


def results_of(path: Path | str) -> Path:
    """The results.json that a path names: itself, or that of the run in a folder."""
    place = Path(path)
    return (part(place, RESULTS) or place / RESULTS) if place.is_dir() else place


def read_json(path: Path) -> Any:
    """What a JSON file holds. ValueError where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no valid JSON ({error}); a results.json, or the folder of a run, is needed"
        ) from None
    except RecursionError:
        raise ValueError(f"{path} is no valid JSON (nested too deep)") from None


def _downstream(data: Mapping[str, Any]) -> dict[str, Any]:
    """What was read of other data, {} in older documents; each with its words and its table."""
    found = record(data, "downstream") if "downstream" in data else {}
    for name in found:
        one = record(found, name)
        text(one, "title")
        texts(one, "sentences")
        wide, rows = len(texts(one, "columns")), one.get("rows")
        known = isinstance(rows, list) and "columns" in one and "sentences" in one
        if not known or any(not isinstance(row, list) or len(row) != wide for row in rows or ()):
            raise ValueError(f"{name!r} holds no sentences, or rows that do not fit its columns")
    return found


def _results(data: dict[str, Any]) -> Results:
    return {
        split: {
            layer: {
                key: Reading.from_dict(record(record(record(data, split), layer), key))
                for key in record(record(data, split), layer)
            }
            for layer in record(data, split)
        }
        for split in data
    }


def _foreign(data: dict[str, Any]) -> dict[str, Any]:
    """The section on foreign data, each set with what pages and terminal show of it."""
    for name in data:
        one = record(data, name)
        whole(one, "n_in"), whole(one, "n_out"), text(one, "split"), text(one, "fitted")
        text(record(one, "advice"), "score"), text(record(one, "advice"), "why")
        record(one, "nc5"), record(one, "left_out")
        for score in record(one, "scores"):
            found = record(record(one, "scores"), score)
            text(found, "title"), record(found, "histogram")
    return data


def _target(data: dict[str, Any]) -> dict[str, Any]:
    """The section on a target set, with what pages and terminal show of it; or nothing."""
    if not data:
        return data
    main = str(whole(data, "main"))
    text(data, "target"), whole(data, "num_classes"), texts(data, "notes")
    layers = record(data, "layers")
    for name in (text(data, "best"), text(data, "last"), *layers):
        few = record(record(record(layers, name), "few_shot"), main)
        record(few, "centres"), record(few, "linear"), record(few, "error")
        record(record(layers, name), "probe"), record(record(layers, name), "scores")
    record(data, "over_collapse"), record(data, "kept")
    return data


def json_schema() -> dict[str, Any]:
    """The JSON Schema of this version's results.json."""
    major = SCHEMA_VERSION.partition(".")[0]
    return shipped_schema(f"results-{major}.json")


def shipped_schema(name: str) -> dict[str, Any]:
    """A JSON Schema that comes with the package."""
    text = resources.files("ncollapse.record").joinpath(f"schemas/{name}").read_text("utf-8")
    return cast(dict[str, Any], json.loads(text))


def _finite(value: Any, place: str, lost: list[str]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        lost.append(place.lstrip("/"))
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item, f"{place}/{key}", lost) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item, f"{place}/{i}", lost) for i, item in enumerate(value)]
    return value
