"""What to do about the model, by goal: advice, and how well this version's studies bear it out."""

from __future__ import annotations

from dataclasses import dataclass

from ncollapse.answers.advice import UNKNOWN, Advice, advise, goals
from ncollapse.record.document import USUAL, Document

TITLES = {
    "classification": "To classify",
    "ood": "To tell foreign inputs apart",
    "transfer": "To transfer",
    "robustness": "To withstand attacks",
    "incremental": "To learn further classes",
}
# So many goals head the page; the others stand in the details.
FIRST = 3


@dataclass(frozen=True)
class Actions:
    """first: (goal, what to do, on what evidence), for goals that the measured degree of collapse
    does not fit; rows: every goal, as the table of the details has it."""

    first: list[tuple[str, str, str]]
    rows: list[tuple[str, ...]]
    fitting: bool


COLUMNS = ("goal", "collapse wanted", "here", "fits", "evidence", "what to do")


def actions(document: Document) -> Actions | None:
    """Advice for every goal; None where no degree of collapse was read, or of another task."""
    if document.task != USUAL or not document.results:
        return None
    order = list(document.config.get("layers", {}))
    found = [advise(document.results, goal, order, document.transfer) for goal in goals()]
    if all(one.share is None for one in found):
        return None
    open_ones = [one for one in found if one.fits is not True and one.actions]
    # What is known not to fit comes before what cannot be told.
    open_ones.sort(key=lambda one: one.fits is None)
    first = [(_title(one), one.actions[0], _why(one)) for one in open_ones[:FIRST]]
    rows: list[tuple[str, ...]] = [
        (
            one.goal,
            one.wanted,
            one.measured,
            {True: "yes", False: "no", None: "cannot tell"}[one.fits],
            one.certainty,
            "; ".join(one.actions) or "nothing",
        )
        for one in found
    ]
    return Actions(first, rows, not open_ones)


def _title(one: Advice) -> str:
    return TITLES.get(one.goal, f"For {one.goal}")


def _why(one: Advice) -> str:
    # The mean, because a verdict may be "partly" for a single class.
    here = "cannot be told" if one.measured == UNKNOWN else f"is {one.measured}"
    said = f"Said to want {one.wanted} collapse; the mean over classes here {here}"
    return f"{said}; evidence: {one.certainty}"
