"""Is the network finished before its last layer, and does separation grow steadily with depth?"""

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
)
from ncollapse.metrics.depth import Depth, depth_of
from ncollapse.record.readings import Number


def finished(asking: Asking, seen: Seen) -> Answer:
    """Whether nearest centres decide as the model does well before the last layer."""
    tolerance = cuts()["depth_mismatch"]
    depth = depth_of(asking.results, split=seen.name, tolerance=tolerance)
    found, last = depth.effective, depth.layers[-1]
    reading = asking.results[seen.name][last].get("nc4_mismatch")
    if reading is None or reading.value is None:
        return Answer(NOT_MEASURED, "What the model decides was not looked at.")
    but = f"on all but {percent(tolerance)} of {reading.n} samples of {seen.name}"
    if found.layer is None:
        return Answer(
            NO,
            f"No layer's nearest class centres decide as the model does {but}; at the last they "
            f"differ on {percent(reading.value)}.",
            (Number("nc4_mismatch", seen.name, last, reading.value),),
        )
    numbers = (Number("nc4_mismatch", seen.name, found.layer, found.mismatch),)
    said = (
        f"From {found.layer} on ({found.number} of {found.total} layers) nearest class centres "
        f"decide as the model does {but}"
    )
    end = _same_as_last(asking, seen, depth)
    assert found.number is not None
    if found.number >= end:
        return Answer(NO, f"{said}: that is the last one that changes anything.", numbers)
    place = None if found.latest is None else depth.layers.index(found.latest) + 1
    if place is None or place >= end:
        return Answer(PARTLY, f"{said}; by its interval it may be the last.", numbers)
    return Answer(YES, f"{said}: what follows can be cut (control.cut_after).", numbers)


def _same_as_last(asking: Asking, seen: Seen, depth: Depth) -> int:
    """Number of the first layer that reads what the last one does: poolings of one vector are one
    layer."""
    layers = asking.results[seen.name]

    def read(name: str) -> tuple[float | None, ...]:
        found = (layers[name].get(key) for key in ("nc1_ratio", "nc4_mismatch", "nc1_cdnv"))
        return tuple(None if one is None or one.value is None else one.value for one in found)

    last, number = read(depth.layers[-1]), len(depth.layers)
    while number > 1 and _close(read(depth.layers[number - 2]), last):
        number -= 1
    return number


def _close(first: tuple[float | None, ...], second: tuple[float | None, ...]) -> bool:
    return all(
        a == b or (a is not None and b is not None and abs(a - b) <= 1e-6 * abs(b))
        for a, b in zip(first, second, strict=True)
    )


def steady(asking: Asking, seen: Seen) -> Answer:
    """Whether the logarithm of separation fuzziness falls linearly with depth."""
    depth = depth_of(asking.results, split=seen.name)
    law = depth.law
    if law is None:
        return Answer(NOT_MEASURED, f"No rate along depth: {depth.why}.")
    first, last = depth.layers[0], depth.layers[-1]
    numbers = tuple(
        Number("nc1_fisher", seen.name, name, asking.results[seen.name][name]["nc1_fisher"].value)
        for name in (first, last)
    )
    ends = "" if law.low is None or law.high is None else f" [{law.low:.3f}, {law.high:.3f}]"
    said = (
        f"tr(Σ_W Σ_B⁺) is multiplied by {law.rate:.3f}{ends} a layer over {law.layers} layers; its "
        f"logarithm and depth correlate at {law.correlation:.3f}"
    )
    cut = cuts()
    if law.layers < cut["law_layers"]:
        return Answer(CANNOT_TELL, f"{said}, of too few layers.", numbers)
    falls = law.high is not None and law.high < 1
    if falls and law.correlation <= -cut["law_yes"]:
        return Answer(YES, f"{said}.", numbers)
    if falls and law.correlation <= -cut["law_partly"]:
        return Answer(PARTLY, f"{said}; {-cut['law_yes']:g} is the cut.", numbers)
    return Answer(NO, f"{said}; {-cut['law_partly']:g} is the cut.", numbers)


QUESTIONS = (
    Question(
        "finished",
        9,
        "Is the network finished before its last layer?",
        ("nc4_mismatch",),
        finished,
        several_layers=True,
    ),
    Question(
        "separation",
        10,
        "Does separation grow steadily from layer to layer?",
        ("nc1_fisher",),
        steady,
        several_layers=True,
    ),
)
