"""Settings of a run by path, by which runs are sorted and drawn."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from ncollapse.record.document import Document


def setting(name: str, document: Document, x: str) -> float | str:
    """What `Compared.along` gives of one run."""
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
