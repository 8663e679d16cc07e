"""Has a regression network collapsed: do features lie in n directions, those that the head reads,
and is the head shaped by the targets?

Cuts are judgements. A yes needs the whole interval, and a reading clear of random directions.
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
    cuts,
    on_splits,
    percent,
)


def _off(seen: Seen, key: str, said: str, others: tuple[str, ...]) -> Answer:
    """A share off some directions against its cuts and random directions."""
    reading = seen.get(key)
    numbers = seen.numbers(key, *(other for other in others if seen.get(other) is not None))
    if reading is None or reading.best is None:
        return Answer(
            NOT_MEASURED,
            "It has no value here: no head, no spread, or as many targets as features.",
        )
    low, high = seen.span(key)
    cut = cuts()
    random = ""
    if reading.null is not None:
        random = f" (random directions: {percent(reading.null.mean)})"
    text = f"{percent(reading.best)} of a feature lies off {said} on {seen.name}{random}"
    if reading.null is not None and high >= reading.null.low:
        return Answer(CANNOT_TELL, f"{text}: not told apart from chance.", numbers)
    if high <= cut["off_yes"]:
        return Answer(YES, f"{text}.", numbers)
    if low <= cut["off_partly"]:
        return Answer(PARTLY, f"{text}; {percent(cut['off_yes'])} is the cut.", numbers)
    return Answer(NO, f"{text}; {percent(cut['off_partly'])} is the cut.", numbers)


def in_directions(asking: Asking, seen: Seen) -> Answer:
    """NRC1 about the mean."""
    n = asking.num_classes
    directions = "one direction" if n == 1 else f"{n} directions"
    return _off(seen, "nrc1_centred", directions, ("nrc1", "nrc_explained"))


def in_rows(asking: Asking, seen: Seen) -> Answer:
    """NRC2 about the mean."""
    return _off(seen, "nrc2_centred", "the rows of the head", ("nrc2", "nrc_alignment"))


def as_targets(asking: Asking, seen: Seen) -> Answer:
    """NRC3 at its best γ against random rows."""
    if asking.num_classes == 1:
        return Answer(NOT_MEASURED, "With one target it holds always.")
    reading = seen.get("nrc3")
    if reading is None or reading.best is None:
        return Answer(NOT_MEASURED, "No head was measured beside the features.")
    numbers = seen.numbers("nrc3", "nrc_gamma")
    low, high = seen.span("nrc3")
    cut = cuts()
    random = "" if reading.null is None else f" (random rows: {reading.null.mean:.2g})"
    said = f"The head's Gram matrix lies {reading.best:.2g} from that of the targets{random}"
    if reading.null is not None and high >= reading.null.low:
        if low > cut["gram_partly"]:
            return Answer(NO, f"{said}.", numbers)
        return Answer(CANNOT_TELL, f"{said}: not told apart from chance.", numbers)
    if high <= cut["gram_yes"]:
        return Answer(YES, f"{said}.", numbers)
    if low <= cut["gram_partly"]:
        return Answer(PARTLY, f"{said}; {cut['gram_yes']:g} is the cut.", numbers)
    return Answer(NO, f"{said}; {cut['gram_partly']:g} is the cut.", numbers)


_NO_SECOND = "Only one split was measured; add a split array or a second file to see held-out data."

QUESTIONS = (
    Question(
        "regression_collapsed",
        1,
        "Collapsed to n directions on {split}?",
        ("nrc1_centred", "nrc1", "nrc_explained"),
        in_directions,
        {
            YES: "On {split}, features lie in as few directions as there are targets",
            PARTLY: "On {split}, most of a feature lies in as few directions as there are targets",
            NO: "On {split}, features fill more directions than there are targets",
            CANNOT_TELL: "On {split}, features are not told from ones without direction",
            NOT_MEASURED: "The directions of the features were not measured",
        },
        headline=on_splits("collapsed to as few directions as targets"),
        unasked=_NO_SECOND,
        task="regression",
    ),
    Question(
        "regression_head",
        2,
        "Does the head read all that features vary in?",
        ("nrc2_centred", "nrc2", "nrc_alignment"),
        in_rows,
        {
            YES: "The head reads the directions that features vary in",
            PARTLY: "The head reads most of what features vary in",
            NO: "Features vary in directions that the head does not read",
            CANNOT_TELL: "It cannot be told whether the head reads where features vary",
            NOT_MEASURED: "No head was measured beside the features",
        },
        task="regression",
    ),
    Question(
        "regression_gram",
        3,
        "Is the head shaped by the targets?",
        ("nrc3", "nrc_gamma"),
        as_targets,
        {
            YES: "The head's rows have the lengths and angles that the targets give them",
            PARTLY: "The head's rows come near to what the targets' covariance gives",
            NO: "The head's rows are not what the targets' covariance gives",
            CANNOT_TELL: "The head's rows are no nearer to the targets than random ones",
            NOT_MEASURED: "The head was not compared with the targets",
        },
        task="regression",
    ),
)
