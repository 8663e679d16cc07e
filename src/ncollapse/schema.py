"""What files hold: readings, verdicts and documents, with the version that names their shape.

No torch here: reports, comparisons and checks read documents on any machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, cast

from ncollapse.atomic import replacing

SCHEMA_VERSION = "1.0"
ANSWERS = ("yes", "partly", "no", "cannot tell", "not measured")


@dataclass(frozen=True)
class Null:
    """What a metric reads where there is nothing to read: mean and central 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Reading:
    """One metric on one split and layer, with its comparators.

    value: the number, None where it could not be read. null: see `Null`. floor: smallest value
    that the dtype (or the dimensions) allow. interval: 95 %. n: samples. definition: the variant.
    """

    value: float | None
    null: Null | None = None
    floor: float | None = None
    interval: tuple[float, float] | None = None
    ideal: float | None = None
    n: int = 0
    definition: str = "default"

    def to_dict(self) -> dict[str, Any]:
        found = asdict(self)
        found["interval"] = None if self.interval is None else list(self.interval)
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reading:
        null = data.get("null")
        interval = data.get("interval")
        return cls(
            value=data["value"],
            null=None if null is None else Null(null["mean"], null["low"], null["high"]),
            floor=data.get("floor"),
            interval=None if interval is None else (interval[0], interval[1]),
            ideal=data.get("ideal"),
            n=int(data.get("n", 0)),
            definition=data.get("definition", "default"),
        )


@dataclass(frozen=True)
class Number:
    """A value that a verdict rests on."""

    key: str
    split: str
    layer: str
    value: float | None


@dataclass(frozen=True)
class Verdict:
    """An answer in plain words: yes, partly, no, cannot tell or not measured."""

    question: str
    answer: str
    sentence: str
    numbers: tuple[Number, ...] = ()

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise ValueError(f"answer {self.answer!r} is unknown; one of {', '.join(ANSWERS)}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        numbers = tuple(
            Number(n["key"], n["split"], n["layer"], n["value"]) for n in data.get("numbers", ())
        )
        return cls(data["question"], data["answer"], data["sentence"], numbers)


Results = dict[str, dict[str, dict[str, Reading]]]


@dataclass(frozen=True)
class ClassRow:
    """One class on one split and layer. norm: ‖m_c‖ of the centred mean; within: v_c; nearest and
    distance: the closest other class mean; cosine: between w_c and m_c; accuracy: of the head."""

    split: str
    layer: str
    name: str
    index: int
    count: int
    norm: float
    within: float
    nearest: str
    distance: float
    cosine: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Document:
    """Everything that results.json holds."""

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

    @property
    def layer(self) -> str:
        """The layer that verdicts are about: `head`, or the last one measured."""
        layers = next(iter(self.results.values()), {})
        return "head" if "head" in layers or not layers else list(layers)[-1]

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

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], origin: str = "the document") -> Document:
        """Rebuild; unknown fields are ignored, a newer major version is refused (ValueError)."""
        version = str(data.get("schema_version", ""))
        major = version.partition(".")[0]
        if not major.isdigit():
            raise ValueError(f"{origin} names no schema_version; a results.json is needed")
        if int(major) > int(SCHEMA_VERSION.partition(".")[0]):
            raise ValueError(
                f"{origin} has schema {version}, newer than {SCHEMA_VERSION} that this version "
                "reads; upgrade ncollapse"
            )
        try:
            return cls(
                schema_version=version,
                ncollapse_version=data["ncollapse_version"],
                date=data["date"],
                source=data["source"],
                config=dict(data["config"]),
                environment=dict(data["environment"]),
                git_hash=data.get("git_hash"),
                num_classes=data["num_classes"],
                num_features=data["num_features"],
                num_samples=data["num_samples"],
                results={
                    split: {
                        layer: {key: Reading.from_dict(row) for key, row in readings.items()}
                        for layer, readings in layers.items()
                    }
                    for split, layers in data["results"].items()
                },
                verdicts=tuple(Verdict.from_dict(v) for v in data.get("verdicts", ())),
                warnings=tuple(data.get("warnings", ())),
            )
        except KeyError as error:
            raise ValueError(f"{origin} lacks {error}; it is no complete results.json") from None

    def write(self, path: Path | str) -> None:
        """Write as JSON, atomically."""
        write_text(Path(path), self.to_json() + "\n")


def read_document(path: Path | str) -> Document:
    """Read a results.json (or the folder that holds one). ValueError says what is wrong."""
    place = Path(path)
    if place.is_dir():
        place = place / "results.json"
    if not place.exists():
        raise ValueError(f"{place} does not exist; pass a results.json or a run folder")
    try:
        data = json.loads(place.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{place} is no valid JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{place} holds a {type(data).__name__}; a results.json is an object")
    return Document.from_dict(data, str(place))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of this version's results.json."""
    major = SCHEMA_VERSION.partition(".")[0]
    text = resources.files("ncollapse").joinpath(f"schemas/results-{major}.json").read_text("utf-8")
    return cast(dict[str, Any], json.loads(text))


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    with replacing(path) as handle:
        handle.write(text.encode())


def _finite(value: Any, place: str, lost: list[str]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        lost.append(place.lstrip("/"))
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item, f"{place}/{key}", lost) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item, f"{place}/{i}", lost) for i, item in enumerate(value)]
    return value
