"""prediction.json: theory over a run, or on its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ncollapse.record.atomic import write_text
from ncollapse.record.document import read_json
from ncollapse.record.folder import PREDICTION

MAJOR = 1


def write_prediction(folder: Path | str, document: dict[str, Any]) -> Path:
    """Write prediction.json into a run folder, whole or not at all."""
    path = Path(folder) / PREDICTION
    write_text(path, prediction_text(document))
    return path


def prediction_text(document: dict[str, Any]) -> str:
    """What prediction.json holds for a document."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_prediction(path: Path | str) -> dict[str, Any]:
    """Read a prediction.json. ValueError for no JSON, no prediction, or a newer major version."""
    place = Path(path)
    data = read_json(place)
    if not isinstance(data, dict) or "geometry" not in data or "problem" not in data:
        raise ValueError(f"{place} holds no prediction; `ncollapse predict --against` writes one")
    version = str(data.get("schema_version", ""))
    major = version.partition(".")[0]
    if not major.isdecimal() or int(major) > MAJOR:
        raise ValueError(
            f"{place} has schema {version!r}, newer than {MAJOR} that this version reads; upgrade "
            "ncollapse"
        )
    return data
