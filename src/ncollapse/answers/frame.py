"""Do the class means form a simplex, and does the head point along them?"""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def simplex(asking: Asking, seen: Seen) -> Answer:
    """Angles and Gram matrix against a simplex; raw rows decide between it and orthogonal ones."""
    num_classes, num_features = asking.num_classes, asking.num_features
    keys = ("nc2_etf_means", "nc2_angle_ratio", "nc2_orthogonal_means", "nc2_gof_means")
    etf, ratio = seen.get("nc2_etf_means"), seen.get("nc2_angle_ratio")
    if etf is None or ratio is None or etf.value is None or ratio.value is None:
        return Answer(CANNOT_TELL, "The class means could not be compared with a frame.")
    numbers = seen.numbers(*(key for key in keys if seen.get(key) is not None))
    reason = unresolved(seen)
    if reason is not None:
        return Answer(CANNOT_TELL, f"{reason}, so their frame says nothing.", numbers)
    if num_classes > num_features + 1:
        return Answer(
            NO,
            f"A simplex of {num_classes} classes does not fit into {num_features} features: the "
            f"distance {etf.value:.3f} cannot fall below {etf.floor or 0:.3f}; angles are "
            f"{ratio.value:.2f} of random ones.",
            numbers,
        )
    cut = cuts()
    random = "" if etf.null is None else f" (random directions: {etf.null.mean:.2f})"
    said = (
        f"Centred means lie {etf.value:.3f} from a simplex{random}, their angles at "
        f"{ratio.value:.2f} of random ones"
    )
    answer = _band(
        [(seen.span("nc2_angle_ratio")[1], "angle"), (seen.span("nc2_etf_means")[1], "frame")]
    )
    if answer == NO:
        return Answer(NO, f"{said}.", numbers)
    # Centred orthogonal rows of equal length are a simplex too: raw rows decide between the two.
    sides = [key for key in ("nc2_orthogonal_means", "nc2_orthogonal_weights") if seen.get(key)]
    raw = max(seen.value(key) or 0.0 for key in sides) if sides else None
    what = "raw means and weights" if len(sides) == 2 else "raw means"
    # A simplex itself reads √(2 - 2√(1 - 1/K)) there; orthogonal means at most half of that.
    ideal = math.sqrt(2 - 2 * math.sqrt(1 - 1 / num_classes))
    if raw is not None and raw < ideal * cut["orthogonal_share"]:
        said += f"; but {what} are orthogonal ({raw:.3f}): an orthogonal frame, not a simplex"
        return Answer(NO, f"{said}.", numbers)
    if raw is not None:
        said += f"; {what} are not orthogonal ({raw:.2f}, a simplex reads {ideal:.2f})"
    return Answer(answer, f"{said}.", numbers)


def _band(tests: Sequence[tuple[float, str]]) -> str:
    """yes when every upper end is below its cut, partly below the wider one, else no."""
    cut = cuts()
    if all(value < cut[f"{name}_yes"] for value, name in tests):
        return YES
    return PARTLY if all(value < cut[f"{name}_partly"] for value, name in tests) else NO


def dual(asking: Asking, seen: Seen) -> Answer:
    """Mean cosine of classifier rows and class means against its cuts."""
    reading = seen.get("nc3_alignment")
    if reading is None or reading.value is None:
        return Answer(NOT_MEASURED, "No classifier weight was given; pass weight (classes, dim).")
    numbers = seen.numbers("nc3_alignment", "nc3_duality")
    reason = unresolved(seen)
    if reason is not None:
        return Answer(CANNOT_TELL, f"{reason}, so duality says nothing.", numbers)
    low, high = seen.span("nc3_alignment")
    random = "" if reading.null is None else f" (random rows: {reading.null.mean:.2f})"
    said = f"Classifier rows and class means meet at a mean cosine of {reading.value:.3f}{random}."
    cut = cuts()
    answer = YES if low >= cut["alignment_yes"] else PARTLY
    return Answer(answer if high >= cut["alignment_partly"] else NO, said, numbers)


QUESTIONS = (
    Question(
        "frame",
        2,
        "Do the class means form a simplex?",
        ("nc2_etf_means", "nc2_angle_ratio", "nc2_orthogonal_means", "nc2_orthogonal_weights"),
        simplex,
        {
            YES: "The class means stand as a simplex, all at equal angles",
            PARTLY: "The class means are near a simplex, though not on it",
            NO: "The class means do not stand as a simplex",
            CANNOT_TELL: "How the class means stand to one another cannot be told",
            NOT_MEASURED: "How the class means stand to one another was not measured",
        },
    ),
    Question(
        "dual",
        3,
        "Is the head dual to the class means?",
        ("nc3_alignment", "nc3_duality"),
        dual,
        {
            YES: ", and each row of the classifier points along its class mean.",
            PARTLY: ", and the rows of the classifier follow them roughly.",
            NO: ", and the rows of the classifier point elsewhere.",
            CANNOT_TELL: ", nor can it be told whether the classifier follows them.",
            NOT_MEASURED: "; the classifier was not compared with them.",
        },
    ),
)
