"""A classifier alone: what its rows say without a single sample."""

from __future__ import annotations

import math

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
from ncollapse.record.readings import ClassRow, Reading

TASK = "weights"
SIMPLEX, ORTHOGONAL = "nc2_etf_weights", "nc2_orthogonal_weights"
COSINE, MARGIN = "gnc_cosine_weights", "gnc_margin_weights"
NAMED = 5


def simplex(asking: Asking, seen: Seen) -> Answer:
    """The distance of centred rows to the simplex, by itself and over that of random rows; rows
    that are orthogonal as they are decide against it."""
    K, d = asking.num_classes, asking.num_features
    if K == 2:
        return Answer(CANNOT_TELL, "Two rows, centred, are always a simplex.", ())
    reading = seen.get(SIMPLEX)
    if reading is None or reading.value is None:
        return Answer(NOT_MEASURED, "The rows could not be compared with a simplex.")
    numbers = seen.numbers(SIMPLEX, "nc2_maxangle_weights", "nc0")
    if d + 1 < K:
        said = f"A simplex of {K} classes does not fit into {d} features"
        return Answer(NO, f"{said}: the rows lie {reading.value:.3f} from one.", numbers)
    said = f"Rows centred on their mean lie {reading.value:.3f} from a simplex"
    answer, said = _near(reading, said)
    # A simplex itself lies so far from orthogonal rows, and orthogonal rows, centred, are one.
    ideal = math.sqrt(2 - 2 * math.sqrt(1 - 1 / K))
    raw = seen.value(ORTHOGONAL)
    if answer in (YES, PARTLY) and raw is not None and raw < cuts()["orthogonal_share"] * ideal:
        said += f"; but as they are they are orthogonal ({raw:.3f}): an orthogonal frame"
        return Answer(NO, f"{said}.", numbers)
    return Answer(answer, f"{said}.", numbers)


def orthogonal(asking: Asking, seen: Seen) -> Answer:
    """The same of the orthogonal frame, of rows as they are; rows that cancel decide against it."""
    K, d = asking.num_classes, asking.num_features
    reading = seen.get(ORTHOGONAL)
    if reading is None or reading.value is None:
        return Answer(NOT_MEASURED, "The rows could not be compared with an orthogonal frame.")
    numbers = seen.numbers(ORTHOGONAL, "nc2_gof_weights", "nc0")
    if d < K:
        said = f"{K} orthogonal rows do not fit into {d} features"
        return Answer(NO, f"{said}: these lie {reading.value:.3f} from such a frame.", numbers)
    said = f"Rows as they are lie {reading.value:.3f} from an orthogonal frame of equal lengths"
    answer, said = _near(reading, said)
    shared = seen.value("nc0")
    if answer in (YES, PARTLY) and shared is not None and K * shared < cuts()["sum_partly"]:
        said += f"; but they cancel (NC0 {shared:.2g}, orthogonal rows have {1 / K:.2g})"
        return Answer(NO, f"{said}.", numbers)
    return Answer(answer, f"{said}.", numbers)


def _near(reading: Reading, said: str) -> tuple[str, str]:
    """The answer by a distance and by its share of what random rows have."""
    value, null = reading.value, reading.null
    assert value is not None
    cut = cuts()
    if null is None:
        answer = YES if value <= cut["frame_yes"] else NO
        answer = PARTLY if answer == NO and value <= cut["frame_partly"] else answer
        return answer, f"{said}; random rows were not drawn"
    said = f"{said} (random rows: {null.mean:.3f})"
    if value >= null.low:
        return NO, f"{said}: no nearer than random rows, {null.low:.3f} to {null.high:.3f}"
    share = value / null.mean
    for answer, width in ((YES, "yes"), (PARTLY, "partly")):
        if share <= cut[f"angle_{width}"] and value <= cut[f"frame_{width}"]:
            return answer, f"{said}, {share:.2f} of theirs"
    return NO, f"{said}, {share:.2f} of theirs; {cut['angle_partly']:g} is the cut"


def code(asking: Asking, seen: Seen) -> Answer:
    """Where the largest cosine lies between the least of any code, 0, and random rows, 1."""
    cosine, margin = seen.get(COSINE), seen.get(MARGIN)
    if cosine is None or cosine.value is None:
        return Answer(NOT_MEASURED, "The largest cosine of rows was not read: see the warnings.")
    numbers = seen.numbers(*(key for key in (COSINE, MARGIN) if seen.get(key) is not None))
    if cosine.null is None or cosine.floor is None or cosine.null.mean <= cosine.floor:
        said = f"The largest cosine is {cosine.value:.3f}; there is nothing to compare it with"
        return Answer(CANNOT_TELL, f"{said}.", numbers)
    said = (
        f"The largest cosine of {asking.num_classes} rows is {cosine.value:.3f}; no code has less "
        f"than {cosine.floor:.3f}, random rows have {cosine.null.mean:.3f}"
    )
    if margin is not None and margin.value is not None and margin.floor is not None:
        said += f"; the smallest margin is {margin.value:.3f} of at most {margin.floor:.3f}"
    place = (cosine.value - cosine.floor) / (cosine.null.mean - cosine.floor)
    cut = cuts()
    answer = YES if place <= cut["code_yes"] else PARTLY if place <= cut["code_partly"] else NO
    return Answer(answer, f"{said}.", numbers)


def cancelling(asking: Asking, seen: Seen) -> Answer:
    """NC0 over 1/K, which random and orthogonal rows have."""
    shared = seen.value("nc0")
    if shared is None:
        return Answer(NOT_MEASURED, "The sum of the rows was not read.")
    said = (
        f"All classes have {shared:.2g} of the squared weight in common; random rows have "
        f"{1 / asking.num_classes:.2g}, rows that cancel 0"
    )
    share = shared * asking.num_classes
    cut = cuts()
    answer = YES if share <= cut["sum_yes"] else PARTLY if share <= cut["sum_partly"] else NO
    return Answer(answer, f"{said}.", seen.numbers("nc0"))


def alike(asking: Asking, seen: Seen) -> Answer:
    """Whether rows are equally long."""
    spread = seen.get("nc2_equinorm_weights")
    if spread is None or spread.value is None:
        return Answer(NOT_MEASURED, "The lengths of the rows were not read.")
    said = f"Lengths vary by {100 * spread.value:.2g} % about their mean"
    if spread.null is not None:
        said += f" (random rows: {100 * spread.null.mean:.2g} %)"
    rows = asking.rows(seen)
    if rows:
        longest, shortest = max(rows, key=_norm), min(rows, key=_norm)
        said += (
            f", from {shortest.norm:.3g} ({shortest.name}) to {longest.norm:.3g} ({longest.name})"
        )
    cut = cuts()
    answer = NO
    if spread.value <= cut["lengths_partly"]:
        answer = YES if spread.value <= cut["lengths_yes"] else PARTLY
    return Answer(answer, f"{said}.", seen.numbers("nc2_equinorm_weights"))


def merged(asking: Asking, seen: Seen) -> Answer:
    """Pairs of rows whose cosine is nearly 1, named; unless random rows have such pairs too."""
    rows, cosine = asking.rows(seen), seen.get(COSINE)
    least = cuts()["merged_cosine"]
    if not rows:
        return Answer(NOT_MEASURED, "Not all pairs of so many rows were looked at.")
    pairs = coinciding(rows, least)
    numbers = seen.numbers(COSINE) if cosine is not None else ()
    if not pairs:
        top = (
            "" if cosine is None or cosine.value is None else f"; the largest is {cosine.value:.3f}"
        )
        return Answer(NO, f"No two rows have a cosine of {least:g} or more{top}.", numbers)
    listed = "; ".join(f"{a} = {b} ({value:.4f})" for a, b, value in pairs[:NAMED])
    more = f"; and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
    said = f"Rows that coincide (cosine {least:g} or more): {listed}{more}"
    if cosine is not None and cosine.null is not None and cosine.null.high >= least:
        said += f"; but so do random rows of this size (up to {cosine.null.high:.4f})"
        return Answer(CANNOT_TELL, f"{said}.", numbers)
    return Answer(YES, f"{said}.", numbers)


def unseen(asking: Asking, seen: Seen) -> Answer:
    """Nothing here tells."""
    said = "No sample was read, so features are unknown; ncollapse measure reads model and data."
    return Answer(NOT_MEASURED, said)


def coinciding(rows: list[ClassRow], least: float) -> list[tuple[str, str, float]]:
    """(class, class, cosine) of rows and their nearest, each pair once, the closest first. Cosines
    are of the lengths and distances that rows of classes hold."""
    known = {row.name: row for row in rows}
    found: dict[frozenset[str], tuple[str, str, float]] = {}
    for row in rows:
        other = known.get(row.nearest)
        if other is None or not row.norm or not other.norm:
            continue
        square = row.norm**2 + other.norm**2 - row.distance**2
        cosine = min(1.0, square / (2 * row.norm * other.norm))
        if cosine >= least:
            found.setdefault(frozenset((row.name, other.name)), (row.name, other.name, cosine))
    return sorted(found.values(), key=lambda pair: -pair[2])


def _norm(row: ClassRow) -> float:
    return row.norm


QUESTIONS = (
    Question(
        "weights_simplex",
        1,
        "Do the classifier's rows form a simplex?",
        (SIMPLEX, ORTHOGONAL, "nc0"),
        simplex,
        {
            YES: "Up to the mean that softmax does not see, the rows stand as a simplex",
            PARTLY: "The rows are nearer to a simplex than random ones, though not on it",
            NO: "The rows do not stand as a simplex",
            CANNOT_TELL: "Whether the rows stand as a simplex cannot be told",
            NOT_MEASURED: "",
        },
        task=TASK,
    ),
    Question(
        "weights_orthogonal",
        2,
        "Do they form an orthogonal frame?",
        (ORTHOGONAL, "nc2_gof_weights"),
        orthogonal,
        {
            YES: "They are orthogonal and equally long",
            PARTLY: "They are nearer to an orthogonal frame than random ones",
            NO: "They form no orthogonal frame",
            CANNOT_TELL: "",
            NOT_MEASURED: "",
        },
        task=TASK,
    ),
    Question(
        "weights_code",
        3,
        "Do they spread as far as so many can?",
        (COSINE, MARGIN),
        code,
        {
            YES: "More rows than a simplex can hold spread as far as so many can",
            PARTLY: "More rows than a simplex can hold spread further than random ones",
            NO: "More rows than a simplex can hold spread less far than they could",
            CANNOT_TELL: "",
            NOT_MEASURED: "",
        },
        task=TASK,
        crowded=True,
    ),
    Question(
        "weights_sum",
        4,
        "Do the rows cancel (NC0)?",
        ("nc0",),
        cancelling,
        {
            YES: "Their sum is nothing beside them",
            PARTLY: "Their sum is smaller than that of random rows",
            NO: "They share a part that softmax does not see",
            CANNOT_TELL: "",
            NOT_MEASURED: "",
        },
        task=TASK,
    ),
    Question(
        "weights_lengths",
        5,
        "Are the rows equally long?",
        ("nc2_equinorm_weights",),
        alike,
        {
            YES: "They are equally long",
            PARTLY: "They are about equally long",
            NO: "Some are much longer than others, as those of frequent classes come to be",
            CANNOT_TELL: "",
            NOT_MEASURED: "",
        },
        task=TASK,
    ),
    Question(
        "weights_merged",
        6,
        "Do rows of classes coincide?",
        (COSINE,),
        merged,
        {
            YES: "Some classes share a row, and the head cannot tell them apart but by the bias",
            NO: "No two classes share a row",
            CANNOT_TELL: "Rows coincide, as they do at random in so few directions",
            PARTLY: "",
            NOT_MEASURED: "",
        },
        task=TASK,
    ),
    Question(
        "weights_features",
        7,
        "Have features collapsed?",
        (),
        unseen,
        {
            YES: "",
            PARTLY: "",
            NO: "",
            CANNOT_TELL: "",
            NOT_MEASURED: "Whether features have collapsed was not looked at",
        },
        task=TASK,
    ),
)
