"""How the rule of `advise_ood` is set, on pairs that no claim is judged on.

`python -m ncollapse.lab.ood_rule FILE` writes advice.json anew; how it did on held-out pairs is
filled in from study `ood`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncollapse.downstream.advice import NEAR, readings
from ncollapse.downstream.section import titles
from ncollapse.lab.ood_pairs import DIGITS, MIXTURE, WINE, plans, rows_of

# Seeds of class splits and networks: those of the study begin at 7000.
FIRST, EACH, DATA = 2000, 5, (DIGITS, MIXTURE, WINE)
# A leaf holds this share of the pairs at least.
LEAF = 0.2
# Cuts that are tried: shares of the values.
SHARES = np.linspace(0.1, 0.9, 17)
WORDS = {
    "nc1_ratio": "tr Σ_W/tr Σ_B on the training samples",
    "nc1_ratio_test": "tr Σ_W/tr Σ_B on held-out samples",
    "nc1_fisher": "tr(Σ_W Σ_B⁺)/K on the training samples",
    "nc1_fisher_test": "tr(Σ_W Σ_B⁺)/K on held-out samples",
    "class_share": "the share of variance from class",
    "class_share_test": "the share of variance from class on held-out samples",
    "condition": "the least over the largest singular value of the class means",
    "width": "the number of features",
    "classes_per_feature": "classes per feature",
    "off_means": "spread off the class means over spread along them",
    "loosening": "NC1 held out over NC1 in training",
}


def pairs(first: int = FIRST, each: int = EACH) -> list[dict[str, Any]]:
    """The pairs that the rule is set on."""
    found, number = [], first
    for data in DATA:
        for plan in plans():
            for _ in range(each):
                found += rows_of({**plan, "data": data}, number)
                number += 1
    return found


def set_on(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """advice.json of these pairs: the score best on average, and the tree of two questions whose
    leaves name, most often, a score within .01 of the best."""
    names = sorted({name for row in rows for name in row["auroc"]})
    auroc = np.array([[row["auroc"].get(name, 0.0) for name in names] for row in rows])
    good = auroc >= auroc.max(1, keepdims=True) - NEAR
    known = [readings(row["document"]) for row in rows]
    keys = [key for key in WORDS if all(key in found for found in known)]
    values = np.array([[found[key] for key in keys] for found in known])
    rule = _tree(values, good, keys, names, 2, int(LEAF * len(rows)))
    best = names[int(auroc.mean(0).argmax())]
    return {
        "used": "rule",
        "rule": rule,
        "always": {"score": best, "mean": round(float(auroc.mean(0).max()), 4)},
        "set_on": {
            "pairs": len(rows),
            "rule": round(_share(rule, values, good, keys, names), 4),
            "always": round(float(good[:, names.index(best)].mean()), 4),
        },
        "held_out": None,
        "titles": titles(),
        "words": {key: WORDS[key] for key in keys},
    }


def _tree(
    values: NDArray[np.float64],
    good: NDArray[np.bool_],
    keys: Sequence[str],
    names: Sequence[str],
    depth: int,
    least: int,
) -> dict[str, Any]:
    leaf: dict[str, Any] = {"score": names[int(good.mean(0).argmax())]}
    best, found = int(good.sum(0).max()), leaf
    if depth == 0 or len(good) < 2 * least:
        return leaf
    for place, key in enumerate(keys):
        for cut in np.unique(np.quantile(values[:, place], SHARES)):
            low = values[:, place] < cut
            if min(low.sum(), (~low).sum()) < least:
                continue
            sides = [
                _tree(values[part], good[part], keys, names, depth - 1, least)
                for part in (low, ~low)
            ]
            tried = {
                "reading": key,
                "cut": round(float(cut), 4),
                "below": sides[0],
                "above": sides[1],
            }
            hits = round(_share(tried, values, good, keys, names) * len(good))
            if hits > best and sides[0] != sides[1]:
                best, found = hits, tried
    return found


def _share(
    rule: Mapping[str, Any],
    values: NDArray[np.float64],
    good: NDArray[np.bool_],
    keys: Sequence[str],
    names: Sequence[str],
) -> float:
    """Share of pairs on which the rule names a score near the best."""
    hits = 0
    for row, found in zip(values, good, strict=True):
        node = rule
        while "reading" in node:
            node = node["below" if row[keys.index(node["reading"])] < node["cut"] else "above"]
        hits += bool(found[names.index(node["score"])])
    return hits / len(good)


def main(path: str) -> None:
    """Set the rule and write it."""
    text = json.dumps(set_on(pairs()), indent=1, ensure_ascii=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
