"""Ordered grades: one point each, on one line, in order, where theory puts them?

The cuts here are judgements of this library, not calibrated: a tenth and half for spread, a
hundredth and a tenth of the variance for the line, a twentieth and a quarter of an interval for
places.
"""

from __future__ import annotations

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
    on_splits,
    percent,
)
from ncollapse.record.readings import Number

SPREAD, LINE, PLACES = (0.1, 0.5), (0.01, 0.1), (0.05, 0.25)
HEADLESS = "No head was given: a weight (1, dim), and thresholds for its places."


def spread(asking: Asking, seen: Seen) -> Answer:
    """ONC1 with its interval against the cuts, unless grades are not told from shuffled ones."""
    reading, numbers = seen.get("onc1"), seen.numbers("onc1")
    if reading is None or reading.best is None:
        return Answer(CANNOT_TELL, "Nothing varies, or every grade has one sample.", numbers)
    low, high = seen.span("onc1")
    said = f"Features vary {reading.best:.3g} times as much within grades as between on {seen.name}"
    if reading.null is not None:
        said += f" (shuffled labels: {reading.null.mean:.3g})"
        if high >= reading.null.low:
            return Answer(CANNOT_TELL, f"{said}: not told apart from chance.", numbers)
    return _judged(low, high, SPREAD, said, numbers)


def line(asking: Asking, seen: Seen) -> Answer:
    """Variance of the means off their best line."""
    reading, numbers = seen.get("onc2_rank"), seen.numbers("onc2_rank", "onc2_alignment")
    if reading is None or reading.value is None:
        return Answer(NOT_MEASURED, "The class means were not read, or coincide.", numbers)
    if asking.present(seen) < 3:
        return Answer(CANNOT_TELL, "Two grades always lie on a line.", numbers)
    said = f"{percent(reading.value)} of the variance of class means lies off their best line"
    off = seen.value("onc2_alignment")
    if off is not None:
        said += f"; {percent(off)} of the features' energy is not along the head"
    return _judged(reading.value, reading.value, LINE, said, numbers)


def order(asking: Asking, seen: Seen) -> Answer:
    """Whether all neighbours ascend, which is exact."""
    value, numbers = seen.value("onc3_order"), seen.numbers("onc3_order")
    if value is None:
        return Answer(NOT_MEASURED, HEADLESS, numbers)
    said = f"{percent(value)} of neighbouring grades have ascending mean scores on {seen.name}."
    return Answer(YES if value == 1 else PARTLY if value > 0.5 else NO, said, numbers)


def places(asking: Asking, seen: Seen) -> Answer:
    """Mean distance from the limits in widths of an interval."""
    value, numbers = seen.value("onc3"), seen.numbers("onc3")
    if value is None:
        return Answer(NOT_MEASURED, HEADLESS, numbers)
    said = f"Mean scores lie {value:.3g} of an interval's width from where theory puts them"
    return _judged(value, value, PLACES, said, numbers)


def _judged(
    low: float, high: float, cuts: tuple[float, float], said: str, numbers: tuple[Number, ...]
) -> Answer:
    """yes below the first cut, no above the second."""
    if high <= cuts[0]:
        return Answer(YES, f"{said}.", numbers)
    if low <= cuts[1]:
        return Answer(PARTLY, f"{said}; {cuts[0]:g} is the cut.", numbers)
    return Answer(NO, f"{said}; {cuts[1]:g} is the cut.", numbers)


QUESTIONS = (
    Question(
        "ordinal_spread",
        1,
        "Do samples of a grade meet on {split}?",
        ("onc1",),
        spread,
        {
            YES: "On {split}, samples lie near the mean of their grade",
            PARTLY: "On {split}, grades stand apart, yet their samples have not met",
            NO: "On {split}, features vary more within grades than between them",
            CANNOT_TELL: "On {split}, it cannot be told whether grades differ from chance",
            NOT_MEASURED: "Spread within the grades was not measured",
        },
        {
            YES: ", and on {split} as well",
            PARTLY: "; on {split} only in part",
            NO: "; on {split} most of it lies inside the grades",
            CANNOT_TELL: "; on {split} it cannot be told",
            NOT_MEASURED: "",
        },
        headline=on_splits("collapsed within grades"),
        unasked="Only one split was measured; add a split array or a second file to see held-out "
        "data, which often does not collapse.",
        task="ordinal",
    ),
    Question(
        "ordinal_line",
        2,
        "Do the grades lie on one line?",
        ("onc2_rank", "onc2_alignment"),
        line,
        {
            YES: "The class means lie on one line",
            PARTLY: "The class means lie near one line",
            NO: "The class means fill more than one line",
            CANNOT_TELL: "Whether the class means lie on one line cannot be told",
            NOT_MEASURED: "Whether class means lie on one line was not measured",
        },
        task="ordinal",
    ),
    Question(
        "ordinal_order",
        3,
        "Do the grades stand in their order?",
        ("onc3_order",),
        order,
        {
            YES: ", in the order of the grades",
            PARTLY: ", and most neighbours are in order",
            NO: ", and not in the order of the grades",
            CANNOT_TELL: "; whether they are in order cannot be told",
            NOT_MEASURED: "; their order was not measured",
        },
        task="ordinal",
    ),
    Question(
        "ordinal_places",
        4,
        "Are the grades where theory puts them?",
        ("onc3",),
        places,
        {
            YES: ", where theory puts them.",
            PARTLY: ", near where theory puts them.",
            NO: ", away from where theory puts them.",
            CANNOT_TELL: "; whether that is where theory puts them cannot be told.",
            NOT_MEASURED: ".",
        },
        task="ordinal",
    ),
)
