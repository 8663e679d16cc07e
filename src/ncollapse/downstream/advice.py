"""Which score to tell foreign inputs apart by, from the readings of a network alone.

The rule, and how it did on held-out pairs of network and foreign data, are data of the package
(advice.json), from `ncollapse.lab.ood_rule` and study `ood`. Where the rule did no better than to
take always the score that was best on average, that score is what `advise` names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from ncollapse.record.document import Document

# A score that is this near to the best one is as good.
NEAR = 0.01
# Readings that are looked at as they are; of all others the logarithm, and words show the number.
PLAIN = ("class_share", "class_share_test", "condition")


@dataclass(frozen=True)
class Advice:
    """score: name of a detector of `ncollapse.downstream.ood`; title: what tables call it; why: one
    sentence; by: "rule" or "always"; readings: what the rule looked at."""

    score: str
    title: str
    why: str
    by: str
    readings: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.title}: {self.why}"


def advise(document: Document) -> Advice:
    """What to take: the rule's answer where it beat the contrast on held-out pairs, else the
    contrast. No foreign data is looked at."""
    return rule_of(document) if evidence()["used"] == "rule" else always()


def always() -> Advice:
    """The score that was best on average where the rule was set."""
    found = evidence()
    name, held = found["always"]["score"], found["held_out"]
    title = found["titles"][name]
    why = (
        f"{title} was the best on average over {found['set_on']['pairs']} pairs of network and data"
    )
    if held:
        why += (
            f"; on {held['pairs']} that were held out it lay within .01 AUROC of the best on "
            f"{100 * held['always']:.0f} %, and a rule from readings on {100 * held['rule']:.0f} %"
        )
    return Advice(name, title, f"{why}.", "always", {})


def rule_of(document: Document) -> Advice:
    """The rule's answer, whether or not it is the default; the contrast where a reading that it
    needs is missing."""
    found = evidence()
    values = readings(document)
    node, path = found["rule"], []
    while "reading" in node:
        value = values.get(node["reading"])
        if value is None:
            return always()
        side = "below" if value < node["cut"] else "above"
        words = found["words"][node["reading"]]
        seen, cut = (_shown(node["reading"], one) for one in (value, node["cut"]))
        path.append(f"{words} is {seen}, {side} {cut}")
        node = node[side]
    name = node["score"]
    title, held = found["titles"][name], found["held_out"]
    why = f"{' and '.join(path)}, where {title} lay nearest to the best score"
    if held:
        why += (
            f"; on {held['pairs']} held-out pairs the rule was within .01 AUROC of the best on "
            f"{100 * held['rule']:.0f} %, always {found['titles'][found['always']['score']]} on "
            f"{100 * held['always']:.0f} %"
        )
    kept = {key: value for key, value in values.items() if key in _asked(found["rule"])}
    return Advice(name, title, f"{why}.", "rule", kept)


def readings(document: Document) -> dict[str, float]:
    """What a rule may look at: collapse, width and spectrum at the layer that verdicts are about,
    those that are known; all but the PLAIN ones as logarithms to base 10."""
    layers = document.results.get(document.reference, {})
    other = next((s for s in document.results if s != document.reference), None)
    found: dict[str, float] = {}
    for suffix, split in (("", layers), ("_test", document.results.get(other or "", {}))):
        for key in ("nc1_ratio", "nc1_fisher", "class_share"):
            reading = split.get(document.layer, {}).get(key)
            if reading is not None and reading.value is not None:
                value = float(reading.value)
                found[key + suffix] = value if key == "class_share" else _log(value)
    spectrum = (document.config.get("between_scatter") or {}).get(document.reference) or {}
    if "condition" in spectrum:
        found["condition"] = float(spectrum["condition"])
    found["width"] = _log(document.num_features)
    found["classes_per_feature"] = _log(document.num_classes / document.num_features)
    if "nc1_ratio" in found and "nc1_fisher" in found:
        # Spread off the class means for spread along them.
        found["off_means"] = found["nc1_ratio"] - found["nc1_fisher"]
    if "nc1_ratio" in found and "nc1_ratio_test" in found:
        found["loosening"] = found["nc1_ratio_test"] - found["nc1_ratio"]
    return found


def within(
    rows: Sequence[Mapping[str, Any]], named: Sequence[str] | None = None, near: float = NEAR
) -> float:
    """Share of pairs on which the named score, or always the one best on average where the rule was
    set, lies within `near` AUROC of the best of all. rows: with `auroc` by score."""
    names = [evidence()["always"]["score"]] * len(rows) if named is None else named
    good = [
        row["auroc"].get(name, 0.0) >= max(row["auroc"].values()) - near
        for row, name in zip(rows, names, strict=True)
    ]
    return sum(good) / len(good)


@cache
def evidence() -> dict[str, Any]:
    """advice.json: the rule, the contrast, and how both did."""
    text = resources.files("ncollapse.downstream").joinpath("advice.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _asked(node: Mapping[str, Any]) -> set[str]:
    if "reading" not in node:
        return set()
    return {node["reading"]} | _asked(node["below"]) | _asked(node["above"])


def _shown(key: str, value: float) -> str:
    """A reading as words show it."""
    return f"{value if key in PLAIN else 10**value:.3g}"


def _log(value: float) -> float:
    return math.log10(max(value, 1e-12))
