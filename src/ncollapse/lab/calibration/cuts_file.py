"""cuts.json from a result of the calibration study: the cuts, and how often they were wrong.

    python -m ncollapse.lab.calibration.cuts_file RUN/study.json [TARGET]

writes the file of the package, or TARGET.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from ncollapse.lab.calibration.choose import BEFORE, CUTS, Conclusion, conclude
from ncollapse.lab.result import StudyResult

# Fewer models than this calibrate nothing that ships.
LEAST = 60
NAME = "calibration"


def cuts_document(result: StudyResult | Mapping[str, Any]) -> dict[str, Any]:
    """What cuts.json says after a run of the study; result: it, or what its study.json holds.

    Cuts that no question of the study looks at stay as they are. Raises ValueError for a result of
    another study.
    """
    found = result.document() if isinstance(result, StudyResult) else result
    if found.get("name") != NAME:
        raise ValueError(f"a result of the study {NAME!r} is needed; this is {found.get('name')!r}")
    rows = [row for run in found["runs"] for row in run["data"].get("rows", [])]
    concluded = conclude(rows)
    package = json.loads(_package().read_text("utf-8"))
    return {
        "version": "2",
        "calibrated": {
            "date": str(found["date"])[:10],
            "size": found["size"],
            "models": len(rows),
            "chosen_on": concluded.models[0],
            "held_out": concluded.models[1],
            "questions": {name: _rated(name, concluded) for name in CUTS},
        },
        "cuts": {
            name: _cut(name, entry, concluded.cuts) for name, entry in package["cuts"].items()
        },
    }


def _rated(question: str, found: Conclusion) -> dict[str, Any]:
    """Names of its cuts; counts (of, among) on the half that was held out."""
    names = [name for names in CUTS[question] for name in names]
    return {"cuts": names, **asdict(found.held[question])}


def _cut(name: str, entry: Mapping[str, Any], cuts: Mapping[str, float]) -> dict[str, Any]:
    if name not in cuts:
        return {"value": entry["value"], "from": "judgement", "why": entry["why"]}
    stayed = cuts[name] == BEFORE[name]
    why = "where it was before" if stayed else f"before: {BEFORE[name]:g}"
    return {"value": cuts[name], "from": "calibration", "why": why}


def write_cuts(result: StudyResult | Mapping[str, Any], path: Path | str | None = None) -> Path:
    """Write cuts.json, that of the package unless a path is given; returns where it lies.

    Raises ValueError where the package's would come from fewer than 60 models or from a run that
    failed in part.
    """
    document = cuts_document(result)
    models = document["calibrated"]["models"]
    if path is None and models < LEAST:
        raise ValueError(f"{models} models were judged; the package's cuts need {LEAST} or more")
    target = _package() if path is None else Path(path)
    target.write_text(_text(document), "utf-8")
    return target


def _package() -> Path:
    return Path(str(resources.files("ncollapse.answers").joinpath("cuts.json")))


def _text(document: Mapping[str, Any]) -> str:
    """JSON with a line for each cut and each question, for people to read and compare."""

    def lines(entries: Mapping[str, Any], indent: str) -> str:
        said = (
            f"{indent}  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
            for key, value in entries.items()
        )
        return "{\n" + ",\n".join(said) + f"\n{indent}}}"

    calibrated = dict(document["calibrated"])
    questions = lines(calibrated.pop("questions"), "    ")
    head = lines(calibrated, "  ").removesuffix("\n  }")
    return (
        f'{{\n  "version": {json.dumps(document["version"])},\n  "calibrated": {head},\n'
        f'    "questions": {questions}\n  }},\n  "cuts": {lines(document["cuts"], "  ")}\n}}\n'
    )


def main(arguments: Sequence[str]) -> None:
    """See the module."""
    if len(arguments) not in (1, 2):
        raise SystemExit(
            "usage: python -m ncollapse.lab.calibration.cuts_file RUN/study.json [TARGET]"
        )
    found = json.loads(Path(arguments[0]).read_text("utf-8"))
    sys.stdout.write(f"{write_cuts(found, *arguments[1:])}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
