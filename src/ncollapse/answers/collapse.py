"""Is it collapsed? Asked of every split."""

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
    percent,
    resolved,
)


def collapsed(asking: Asking, seen: Seen) -> Answer:
    """Class share against its cuts, unless it is not told from shuffled labels."""
    share = seen.get("class_share")
    numbers = seen.numbers("class_share", "nc1_fisher", "nc1_ratio")
    if share is None or share.value is None:
        return Answer(
            CANNOT_TELL,
            "Every sample is a class of its own or only one class is present, so spread within "
            "classes is unknown.",
            numbers,
        )
    low, high = seen.span("class_share")
    said = f"The class explains {percent(share.value)} of the feature variance on {seen.name}"
    if share.null is not None:
        said += f" (shuffled labels: {percent(share.null.mean)})"
    if resolved(seen) is False:
        return Answer(CANNOT_TELL, f"{said}: not told apart from chance.", numbers)
    cut = cuts()
    if _at_floor(seen):
        return Answer(
            YES,
            f"{said}, at the precision floor: deeper collapse cannot be seen in this dtype.",
            numbers,
        )
    if low >= cut["share_yes"]:
        return Answer(YES, f"{said}.", numbers)
    if high >= cut["share_partly"]:
        return Answer(PARTLY, f"{said}; {percent(cut['share_yes'])} is the cut.", numbers)
    return Answer(NO, f"{said}.", numbers)


def _at_floor(seen: Seen) -> bool:
    reading = seen.get("nc1_ratio")
    if reading is None or reading.value is None or reading.floor is None:
        return False
    return reading.value <= 2 * reading.floor


QUESTIONS = (
    Question(
        "collapsed",
        1,
        "Collapsed on {split}?",
        ("class_share", "nc1_fisher", "nc1_ratio"),
        collapsed,
        {
            YES: "On {split}, samples lie near their class mean for how far means lie apart",
            PARTLY: "On {split}, classes stand apart, yet part of the variance is inside them",
            NO: "On {split}, most of the variance still lies inside the classes",
            CANNOT_TELL: "On {split}, it cannot be told whether classes differ from chance",
            NOT_MEASURED: "Spread within the classes was not measured",
        },
        {
            YES: ", and on {split} as well",
            PARTLY: "; on {split} only in part",
            NO: "; on {split} most of it lies inside the classes",
            CANNOT_TELL: "; on {split} it cannot be told",
            NOT_MEASURED: "",
        },
        unasked="Only one split was measured; add a split array or a second file to see held-out "
        "data, which often does not collapse.",
    ),
)
