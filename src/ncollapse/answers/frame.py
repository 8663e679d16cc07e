"""Do the class means form a simplex, and does the head point along them?"""

from __future__ import annotations

import math
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
    unresolved,
)


def simplex(asking: Asking, seen: Seen) -> Answer:
    """Angles against random directions, then angles and Gram matrix against a simplex; raw rows
    decide between it and orthogonal ones."""
    num_classes = asking.present(seen)
    keys = ("nc2_etf_means", "nc2_angle_ratio", "nc2_orthogonal_means", "nc2_gof_means")
    numbers = seen.numbers(*(key for key in keys if seen.get(key) is not None))
    if num_classes == 2:
        return Answer(CANNOT_TELL, "Two class means always form a simplex.", numbers)
    reason = unresolved(seen)
    if reason is not None:
        return Answer(CANNOT_TELL, f"{reason}, so their frame says nothing.", numbers)
    etf, ratio = seen.get("nc2_etf_means"), seen.get("nc2_angle_ratio")
    if etf is None or ratio is None or etf.best is None or ratio.best is None:
        return Answer(
            CANNOT_TELL, "The class means could not be compared with a frame: see the warnings."
        )
    directions = min(asking.num_features, asking.directions or asking.num_features)
    if num_classes > directions + 1:
        whole = directions == asking.num_features
        room = f"{directions} features" if whole else f"the {directions} directions they span"
        return Answer(
            NO,
            f"A simplex of {num_classes} classes does not fit into {room}: the class means lie "
            f"{etf.best:.3f} from one, their angles are {ratio.best:.2f} of random ones.",
            numbers,
        )
    random = "" if etf.null is None else f" (random directions: {etf.null.mean:.2f})"
    said = (
        f"Centred means lie {etf.best:.3f} from a simplex{random}, their angles at "
        f"{ratio.best:.2f} of random ones"
    )
    ends = {"angle": seen.span("nc2_angle_ratio"), "frame": seen.span("nc2_etf_means")}
    if ratio.null is not None and ends["angle"][1] >= ratio.null.low:
        held = f"{said}; random ones read {ratio.null.low:.2f} to {ratio.null.high:.2f}"
        if ends["angle"][0] >= cuts()["angle_yes"]:
            return Answer(NO, f"{held}.", numbers)
        return Answer(CANNOT_TELL, f"{held}, the interval reaches {ends['angle'][1]:.2f}.", numbers)
    answer, why = _band({name: high for name, (_, high) in ends.items()})
    if answer == NO:
        return Answer(NO, f"{said}{why}.", numbers)
    # Centred orthogonal rows of equal length are a simplex too: raw rows decide between the two.
    sides = [key for key in ("nc2_orthogonal_means", "nc2_orthogonal_weights") if seen.get(key)]
    raw = max(seen.best(key) or 0.0 for key in sides) if sides else None
    what = "raw means and weights" if len(sides) == 2 else "raw means"
    # A simplex itself reads √(2 - 2√(1 - 1/K)) there; orthogonal means at most half of that.
    ideal = math.sqrt(2 - 2 * math.sqrt(1 - 1 / num_classes))
    if raw is not None and raw < ideal * cuts()["orthogonal_share"]:
        said += f"; but {what} are orthogonal ({raw:.3f}): an orthogonal frame, not a simplex"
        return Answer(NO, f"{said}.", numbers)
    if raw is not None:
        said += f"; {what} are not orthogonal ({raw:.2f}, a simplex reads {ideal:.2f})"
    if seen.at_floor("nc2_etf_means") and answer == YES:
        said += "; that is all that so many samples can tell"
    return Answer(answer, f"{said}{why}.", numbers)


def _band(highs: Mapping[str, float]) -> tuple[str, str]:
    """yes when every upper end is below its cut, partly below the wider one, else no; and the one
    that decided."""
    cut, shown = cuts(), {"angle": "angles", "frame": "distance"}
    for answer, width in ((NO, "partly"), (PARTLY, "yes")):
        for name, high in highs.items():
            if high >= cut[f"{name}_{width}"]:
                held = cut[f"{name}_{width}"]
                return answer, f"; the {shown[name]} may be {high:.2f}, {held:g} is the cut"
    return YES, ""


def dual(asking: Asking, seen: Seen) -> Answer:
    """Mean cosine of classifier rows and class means against its cuts."""
    reading = seen.get("nc3_alignment")
    if reading is None or reading.best is None:
        if asking.headless(seen):
            return Answer(
                NOT_MEASURED, "No classifier weight was given; pass weight (classes, dim)."
            )
        return Answer(CANNOT_TELL, "Rows and means could not be compared: see the warnings.")
    numbers = seen.numbers("nc3_alignment", "nc3_duality")
    reason = unresolved(seen)
    if reason is not None:
        return Answer(CANNOT_TELL, f"{reason}, so duality says nothing.", numbers)
    low, high = seen.span("nc3_alignment")
    random = "" if reading.null is None else f" (random rows: {reading.null.mean:.2f})"
    said = f"Classifier rows and class means meet at a mean cosine of {reading.best:.3f}{random}"
    cut = cuts()
    if low >= cut["alignment_yes"]:
        return Answer(YES, f"{said}.", numbers)
    if high >= cut["alignment_partly"]:
        return Answer(
            PARTLY, f"{said}; it may be {low:.3f}, {cut['alignment_yes']:g} is the cut.", numbers
        )
    return Answer(NO, f"{said}; {cut['alignment_partly']:g} is the cut.", numbers)


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
        headline={YES: "simplex", PARTLY: "nearly a simplex", NO: "no simplex"},
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
        headline={NO: "head off the means", PARTLY: "head near the means"},
    ),
)
