"""What collapse does to foreign data: asked, and said to be unmeasured where nothing of it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ncollapse.answers.question import (
    CANNOT_TELL,
    NO,
    NOT_MEASURED,
    PARTLY,
    YES,
    Answer,
    Asking,
    Question,
    Seen,
    cuts,
)


def out_of_distribution(asking: Asking, seen: Seen) -> Answer:
    """By the score that readings name, on the foreign data that it tells apart least."""
    if not asking.ood:
        return Answer(NOT_MEASURED, "No such inputs were given.")
    known = {name: data for name, data in asking.ood.items() if _advised(data) is not None}
    if not known:
        return Answer(CANNOT_TELL, "The score that readings name could not be formed.")
    name = min(known, key=lambda name: _auroc(_advised(known[name]) or {}))
    data = known[name]
    score = _advised(data) or {}
    best = max(data["scores"].values(), key=_auroc)
    low, high = score["interval"]
    said = (
        f"AUROC {_auroc(score):.3f} [{low:.3f}, {high:.3f}] by {score['title']}, which readings "
        f"name, on {data['n_out']} samples of {name} against {data['n_in']} of {data['split']}"
    )
    if best["title"] != score["title"]:
        said += f"; best with these samples at hand is {best['title']}, {_auroc(best):.3f}"
    cut = cuts()
    if low >= cut["ood_yes"]:
        return Answer(YES, f"{said}.")
    if high < cut["ood_partly"]:
        return Answer(NO, f"{said}.")
    if low < cut["ood_partly"]:
        return Answer(CANNOT_TELL, f"{said}: the interval crosses {cut['ood_partly']:g}.")
    return Answer(PARTLY, f"{said}; {cut['ood_yes']:g} is the cut.")


def _advised(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = data["scores"].get(data["advice"]["score"])
    return found


def _auroc(score: Mapping[str, Any]) -> float:
    return float(score["AUROC"])


QUESTIONS = (
    Question(
        "out_of_distribution",
        8,
        "Are out-of-distribution inputs told apart?",
        (),
        out_of_distribution,
    ),
)
