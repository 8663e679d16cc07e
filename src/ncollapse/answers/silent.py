"""Does one class lose directions that others keep? Read of effective ranks along training."""

from __future__ import annotations

from collections.abc import Mapping

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
    percent,
)
from ncollapse.metrics.kept_ranks import Kept, KeptRanks, kept_ranks
from ncollapse.record.readings import ClassRow


def _kept(asking: Asking, seen: Seen) -> KeptRanks | None:
    return kept_ranks(asking.trace, seen.name, asking.layer)


def silent(asking: Asking, seen: Seen) -> Answer:
    """By the share of its largest rank that the worst class keeps, over that of the median class:
    what all classes lose alike is training, what one loses alone nobody sees in an average."""
    found = _kept(asking, seen)
    if found is None:
        return Answer(NOT_MEASURED, "No effective rank of a class was read at two steps.")
    known = {row.index: row for row in asking.rows(seen)}
    few = cuts()["rank_samples"]
    kept = [one for one in found.classes if _count(known, one) >= few]
    if len(kept) < 2:
        return Answer(
            CANNOT_TELL,
            f"Fewer than two classes have {few:.0f} samples, below which a rank says little.",
        )
    found = KeptRanks(tuple(kept))
    worst = found.classes[0]
    row = known.get(worst.index)
    name = f"{worst.index}" if row is None else row.name
    said = (
        f"Class {name!r} keeps {percent(worst.share)} of its effective rank ({worst.largest:.3g} "
        f"at step {worst.at}, {worst.last:.3g} at step {worst.step}), the median class "
        f"{percent(found.typical)}"
    )
    if row is not None and row.accuracy is not None:
        said += f"; its accuracy is {percent(row.accuracy)}"
    cut, against = cuts(), found.against_others
    if against <= cut["rank_yes"]:
        return Answer(YES, f"{said}.")
    return Answer(PARTLY if against <= cut["rank_partly"] else NO, f"{said}.")


def _count(known: Mapping[int, ClassRow], one: Kept) -> float:
    """Samples of a class; enough where no row tells."""
    row = known.get(one.index)
    return float("inf") if row is None else row.count


QUESTIONS = (
    Question(
        "silent_collapse",
        6,
        "Does one class lose directions that others keep?",
        (),
        silent,
        asked=lambda asking: _kept(asking, asking.reference) is not None,
        basis="Effective ranks of single classes along training.",
    ),
)
