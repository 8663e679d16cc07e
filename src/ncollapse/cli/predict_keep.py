"""ncollapse predict --keep all: the least change that keeps classes from merging."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.record.folder import PREDICTION

if TYPE_CHECKING:
    from ncollapse.theory.subjects.prescription import Prescription

# Settings of `predict` that `prescribe` knows, beside those of losses.
KNOWN = ("loss", "weight_decay", "feature_decay", "bias", "num_features", "tolerance")
LOSSES = ("smoothing", "strength", "gamma", "factor", "target", "weight")


def parse_keep(text: str) -> str | list[int]:
    """'all', '3,5' or '5-9' → "all" or 0-based classes. Raises ValueError for anything else."""
    if text.strip() == "all":
        return "all"
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+))?\s*", part)
        last = None if match is None else int(match[2] or match[1])
        if match is None or last is None or last < int(match[1]):
            raise ValueError(
                f"--keep part {part.strip()!r} is not understood; write all, or classes counted "
                "from 0 such as 3,5 or 5-9"
            )
        found += range(int(match[1]), last + 1)
    return found


def keeping(
    keep: str | None, margin: float | None, by: str | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """Keywords of `prescribe` from the options, empty without --keep. Raises ValueError for options
    that mean nothing beside each other."""
    if keep is None:
        if margin is not None or by is not None:
            raise ValueError("--margin and --by belong to --keep; pass --keep all, or classes")
        return {}
    for name in ("task", "phase_diagram"):
        if settings.get(name) is not None:
            raise ValueError(f"--keep is not for --{name.replace('_', '-')}; leave one of them out")
    if settings["model"] != "ufm" or settings["nonnegative"]:
        raise ValueError(
            "--keep prescribes for model ufm without --nonnegative, whose thresholds are known"
        )
    given = {"margin": margin, "by": by, "tolerance": settings["tolerance"]}
    known = {name: value for name, value in given.items() if value is not None}
    return {"keep": parse_keep(keep), **known}


def prescribed(counts: list[int], settings: dict[str, Any], wanted: dict[str, Any]) -> Prescription:
    """The prescription for counts and the settings of `predict`."""
    from ncollapse.theory.subjects.prescription import prescribe

    known = {name: settings[name] for name in (*KNOWN, *LOSSES) if settings.get(name) is not None}
    return prescribe(counts, **{**known, **wanted})


def loading(made: Prescription, output: Path | None) -> str:
    """Where the numbers of many classes stand and how they are loaded; nothing where the code holds
    them all."""
    from ncollapse.theory.subjects.prescription_words import written_out

    if written_out(made):
        return ""
    if output is None:
        return f"\n all        -o FOLDER keeps every number, in its {PREDICTION}"
    key = "weights" if made.by == "weights" else "factors"
    path = (output / PREDICTION).as_posix()
    return (
        "\n all        every number is in the folder too:\n\n"
        f"import json, torch\n"
        f"made = json.load(open({path!r}))['prescription']\n"
        f"{key[:-1]} = torch.tensor(made['{key}'])\n"
    )
