"""Finished runs on disk: each is written at once, and found again by its settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ncollapse.lab.place import FOLDER
from ncollapse.lab.study import Unit, UnitResult
from ncollapse.record.atomic import set_aside, write_text

RUNS = "runs"
PRINT = "fingerprint"


def checkpoints(folder: Path, unit: Unit) -> Path:
    """Where the run keeps checkpoints: runs with other settings must not meet each other's."""
    return (folder / FOLDER / f"{unit.name}-{unit.fingerprint}").absolute()


def write(folder: Path, unit: Unit, result: UnitResult) -> None:
    """Write the result of a run; a file of that name which is no run of ours gets another name."""
    path = _path(folder, unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    if _content(path) is None:
        set_aside(path)
    content = {PRINT: unit.fingerprint, **asdict(result)}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read(folder: Path | None, unit: Unit) -> UnitResult | None:
    """A finished run with the same settings, or None: it is run again."""
    content = None if folder is None else _content(_path(folder, unit))
    if content is None or content.pop(PRINT) != unit.fingerprint:
        return None
    try:
        return UnitResult(**content)
    except TypeError:
        return None


def _path(folder: Path, unit: Unit) -> Path:
    return folder / RUNS / f"{unit.name}.json"


def _content(path: Path) -> dict[str, Any] | None:
    """What a file of ours holds; None for any other, and where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and PRINT in found else None
