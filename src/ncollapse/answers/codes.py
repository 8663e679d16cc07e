"""Where no simplex fits: do the class means spread as far as so many can?"""

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
    unresolved,
)

COSINE, MARGIN = "gnc_cosine_means", "gnc_margin_means"


def spread_out(asking: Asking, seen: Seen) -> Answer:
    """Where the largest cosine lies between the least of any code, 0, and random directions, 1."""
    numbers = seen.numbers(*(key for key in (COSINE, MARGIN) if seen.get(key) is not None))
    reason = unresolved(seen)
    if reason is not None:
        return Answer(CANNOT_TELL, f"{reason}, so how they spread says nothing.", numbers)
    cosine, margin = seen.get(COSINE), seen.get(MARGIN)
    if cosine is None or cosine.best is None:
        return Answer(
            NOT_MEASURED, "The largest cosine of class means was not read: see the warnings."
        )
    if cosine.null is None or cosine.floor is None or cosine.null.mean <= cosine.floor:
        return Answer(
            CANNOT_TELL,
            f"The largest cosine is {cosine.best:.3f}; with nothing to compare it with, "
            "that says little.",
            numbers,
        )
    directions = min(asking.num_features, asking.directions or asking.num_features)
    said = (
        f"The largest cosine of {asking.present(seen)} class means in {directions} directions is "
        f"{cosine.best:.3f}; no code has less than {cosine.floor:.3f}, random directions have "
        f"{cosine.null.mean:.3f}"
    )
    if margin is not None and margin.best is not None and margin.floor is not None:
        said += f"; the smallest margin is {margin.best:.3f} of at most {margin.floor:.3f}"
    room = cosine.null.mean - cosine.floor
    low, high = ((end - cosine.floor) / room for end in seen.span(COSINE))
    cut = cuts()
    if high <= cut["code_yes"]:
        return Answer(YES, f"{said}.", numbers)
    if high <= cut["code_partly"]:
        reach = f"{cosine.floor + cut['code_yes'] * room:.3f} is the cut"
        return Answer(PARTLY, f"{said}; it may be {seen.span(COSINE)[1]:.3f}, {reach}.", numbers)
    if low <= cut["code_yes"]:
        ends = "{:.3f} to {:.3f}".format(*seen.span(COSINE))
        return Answer(CANNOT_TELL, f"{said}; its interval is {ends}.", numbers)
    return Answer(NO, f"{said}.", numbers)


QUESTIONS = (
    Question(
        "code",
        2,
        "Do class means spread as far as so many can?",
        (COSINE, MARGIN),
        spread_out,
        {
            YES: "More class means than a simplex can hold spread as far as so many can. ",
            PARTLY: "More class means than a simplex can hold spread further than random ones. ",
            NO: "More class means than a simplex can hold spread less far than they could. ",
            CANNOT_TELL: "There are more class means than a simplex can hold. ",
            NOT_MEASURED: "How far class means spread was not measured. ",
        },
        headline={
            YES: "means as far apart as so many can be",
            PARTLY: "means further apart than random ones",
            NO: "means nearer than they could be",
        },
        crowded=True,
    ),
)
