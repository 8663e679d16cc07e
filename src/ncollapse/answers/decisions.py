"""Does the head decide like the nearest class centre, and are small classes at risk of merging?"""

from __future__ import annotations

from statistics import median

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
    unresolved,
)
from ncollapse.record.readings import ClassRow


def nearest(asking: Asking, seen: Seen) -> Answer:
    """Share of samples on which the two differ, against its cuts."""
    reading = seen.get("nc4_mismatch")
    if reading is None or reading.value is None:
        return Answer(NOT_MEASURED, "No classifier weight was given, or decisions were left out.")
    low, high = seen.span("nc4_mismatch")
    accuracy = seen.best("accuracy")
    guess = "" if reading.null is None else f" (independent guesses: {percent(reading.null.mean)})"
    said = f"They differ on {percent(reading.value)} of {reading.n} samples of {seen.name}{guess}"
    if accuracy is not None:
        said += f"; the head is right on {percent(accuracy)}"
    cut = cuts()
    numbers = seen.numbers("nc4_mismatch", "accuracy", "ncc_accuracy")
    if high <= cut["mismatch_yes"]:
        return Answer(YES, f"{said}.", numbers)
    if low <= cut["mismatch_partly"]:
        held = f"it may be {percent(high)}, {percent(cut['mismatch_yes'])} is the cut"
        return Answer(PARTLY, f"{said}; {held}.", numbers)
    return Answer(NO, f"{said}; {percent(cut['mismatch_partly'])} is the cut.", numbers)


def minority(asking: Asking, seen: Seen) -> Answer:
    """Distances of the smaller classes to their neighbours against those of the larger."""
    rows = asking.rows(seen)
    if len(rows) < 3:
        return Answer(NOT_MEASURED, "Fewer than three classes are present.")
    counts = sorted(row.count for row in rows)
    cut = cuts()
    if counts[-1] / counts[0] < cut["imbalance"]:
        return Answer(
            NO, f"Classes are balanced ({counts[0]} to {counts[-1]} samples): none is small."
        )
    small, large = halves(rows)
    share = median(row.distance for row in small) / max(
        median(row.distance for row in large), 1e-300
    )
    said = (
        f"Counts range from {counts[0]} to {counts[-1]}; the smaller classes lie {share:.2f} as "
        "far from their nearest neighbour as the larger ones"
    )
    numbers = seen.numbers("nc1_cdnv", "nc2_equinorm_means")
    if unresolved(seen) is not None:
        return Answer(CANNOT_TELL, f"{said}, but means are not resolved.", numbers)
    answer = YES if share < cut["minority_close"] else NO
    if answer == NO and share < cut["minority_partly"]:
        answer = PARTLY
    return Answer(answer, f"{said}.", numbers)


def halves(rows: list[ClassRow]) -> tuple[list[ClassRow], list[ClassRow]]:
    """The classes smaller than the median count and those larger; those at it where none is."""
    middle = median(row.count for row in rows)
    small = [row for row in rows if row.count < middle]
    large = [row for row in rows if row.count > middle]
    return (
        small or [row for row in rows if row.count <= middle],
        large or [row for row in rows if row.count >= middle],
    )


def at_risk(asking: Asking, seen: Seen) -> tuple[int, int]:
    """How many classes are small and lie closer to their neighbour than the cut of `minority`
    allows, and how many there are."""
    rows = asking.rows(seen)
    if len(rows) < 3:
        return 0, len(rows)
    small, large = halves(rows)
    far = median(row.distance for row in large)
    return sum(row.distance < cuts()["minority_partly"] * far for row in small), len(rows)


QUESTIONS = (
    Question(
        "nearest",
        4,
        "Does the head decide like the nearest class centre?",
        ("nc4_mismatch", "accuracy", "ncc_accuracy"),
        nearest,
        {
            YES: "The head decides as the nearest class centre would",
            PARTLY: "The head mostly decides as the nearest class centre would",
            NO: "The head decides otherwise than the nearest class centre",
            CANNOT_TELL: "Whether the head decides like the nearest class centre cannot be told",
            NOT_MEASURED: "The decisions of a head were not looked at",
        },
    ),
    Question(
        "minority",
        5,
        "Are small classes at risk of merging?",
        ("nc1_cdnv", "nc2_equinorm_means", "class_share"),
        minority,
        {
            YES: ", and small classes lie close to their neighbours, at risk of merging.",
            PARTLY: ", and small classes lie somewhat closer to their neighbours.",
            NO: ", and no small class is at risk of merging with another.",
            CANNOT_TELL: "; whether small classes are at risk of merging cannot be told.",
            NOT_MEASURED: ".",
        },
        headline=dict.fromkeys((YES, PARTLY), "{some} of {all} classes at risk"),
        share=at_risk,
    ),
)
