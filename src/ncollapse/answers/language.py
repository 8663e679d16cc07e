"""Has a language model collapsed: where does the variance of its features sit, can it go lower, and
do head, means and decisions agree as collapse would have them?

Cuts are judgements. Shares are those without what noise adds. Nothing is claimed of how collapse
goes with the size of a model: published trends of NC1 rest on a form that has a unit of length.
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

SHARES = ("lm_share_context", "lm_share_token", "lm_share_category")
FLOOR = "lm_information_floor"


def collapsed(asking: Asking, seen: Seen) -> Answer:
    """The context share against its cuts."""
    context = seen.value("lm_share_context")
    numbers = seen.numbers(*(key for key in SHARES if seen.get(key) is not None))
    if context is None:
        return Answer(NOT_MEASURED, "Every token occurs once, so none has contexts to compare.")
    cut = cuts()
    token, category = (seen.value(key) for key in SHARES[1:])
    rest = "" if token is None else f", {percent(token)} the next token"
    rest += "" if category is None else f" and {percent(category)} its kind"
    said = f"Of the variance of features on {seen.name}, context explains {percent(context)}{rest}"
    if context <= cut["context_yes"]:
        return Answer(YES, f"{said}.", numbers)
    if context <= cut["context_partly"]:
        return Answer(PARTLY, f"{said}; {percent(cut['context_yes'])} is the cut.", numbers)
    return Answer(NO, f"{said}; {percent(cut['context_partly'])} is the cut.", numbers)


def could(asking: Asking, seen: Seen) -> Answer:
    """Whether predictions leave room for collapse: the floor against rounding and the cuts."""
    floor = seen.value(FLOOR)
    numbers = seen.numbers(FLOOR, "lm_information")
    if floor is None:
        return Answer(NOT_MEASURED, "No head was measured, so nothing is known of predictions.")
    said = (
        f"What this model predicts of the next token within a kind depends on context, and that "
        f"alone keeps {percent(floor)} of the variance within kinds"
    )
    if floor <= cuts()["floor_none"]:
        return Answer(YES, f"{said}: almost nothing.", numbers)
    return Answer(NO, f"{said}: it cannot vanish unless predictions or the head change.", numbers)


def aligned(asking: Asking, seen: Seen) -> Answer:
    """NC3 against its cuts and random directions."""
    reading = seen.get("lm_nc3")
    numbers = seen.numbers("lm_nc3", "lm_unc3")
    if reading is None or reading.best is None:
        return Answer(NOT_MEASURED, "No head was measured beside the features.")
    value, cut = reading.best, cuts()
    random = "" if reading.null is None else f" (random directions: {reading.null.mean:.2f})"
    said = f"Rows of the head and class means have cosine {value:.2f} in the mean{random}"
    if reading.null is not None and value <= reading.null.high:
        return Answer(NO, f"{said}: not told apart from chance.", numbers)
    if value >= cut["alignment_yes"]:
        return Answer(YES, f"{said}.", numbers)
    if value >= cut["alignment_partly"]:
        return Answer(PARTLY, f"{said}; {cut['alignment_yes']:g} is the cut.", numbers)
    return Answer(NO, f"{said}; {cut['alignment_partly']:g} is the cut.", numbers)


def nearest(asking: Asking, seen: Seen) -> Answer:
    """NC4 of text that was held out, of the only split where there is one."""
    held = next((one for one in (*asking.others, seen) if one.get("lm_nc4") is not None), None)
    if held is None:
        return Answer(NOT_MEASURED, "No decisions were collected, or no head was measured.")
    cut = cuts()
    numbers = held.numbers("lm_nc4", "lm_accuracy")
    low, high = held.span("lm_nc4")
    best = held.best("lm_nc4")
    assert best is not None
    said = f"Head and nearest class mean name the same token at {percent(best)} of {held.name}"
    if 1 - low <= cut["mismatch_yes"]:
        return Answer(YES, f"{said}.", numbers)
    if 1 - high <= cut["mismatch_partly"]:
        return Answer(PARTLY, f"{said}; {percent(1 - cut['mismatch_yes'])} is the cut.", numbers)
    return Answer(NO, f"{said}; {percent(1 - cut['mismatch_partly'])} is the cut.", numbers)


QUESTIONS = (
    Question(
        "language_collapsed",
        1,
        "Collapsed onto the next token on {split}?",
        SHARES,
        collapsed,
        {
            YES: "On {split}, features are those of the next token, whatever the context",
            PARTLY: "On {split}, features are mostly those of the next token",
            NO: "On {split}, features vary with context within each next token",
            CANNOT_TELL: "On {split}, it cannot be told what features vary with",
            NOT_MEASURED: "Where the variance of features sits was not measured",
        },
        headline=on_splits("collapsed onto the next token"),
        unasked="Only one split was measured; more than one document gives held-out text.",
        task="language",
    ),
    Question(
        "language_could",
        2,
        "Do its predictions leave room for collapse?",
        (FLOOR, "lm_information"),
        could,
        {
            YES: "Its predictions hardly depend on context within a kind of token",
            PARTLY: "Its predictions depend on context a little, which keeps some variance",
            NO: "Its predictions depend on context, which forbids that features collapse",
            CANNOT_TELL: "What its predictions forbid cannot be told",
            NOT_MEASURED: "What predictions forbid was not measured",
        },
        task="language",
    ),
    Question(
        "language_dual",
        3,
        "Do rows of the head stand along class means?",
        ("lm_nc3", "lm_unc3"),
        aligned,
        {
            YES: "The head's rows point where the means of their tokens do",
            PARTLY: "The head's rows lean towards the means of their tokens",
            NO: "The head's rows do not point where the means of their tokens do",
            CANNOT_TELL: "It cannot be told where the head's rows point",
            NOT_MEASURED: "No head was measured beside the features",
        },
        task="language",
    ),
    Question(
        "language_nearest",
        4,
        "Does the head decide like the nearest mean?",
        ("lm_nc4", "lm_accuracy"),
        nearest,
        {
            YES: "The head names the token of the nearest class mean",
            PARTLY: "The head mostly names the token of the nearest class mean",
            NO: "The head decides otherwise than the nearest class mean",
            CANNOT_TELL: "It cannot be told whether the head decides like the nearest mean",
            NOT_MEASURED: "Decisions were not compared with the nearest class mean",
        },
        task="language",
    ),
)
