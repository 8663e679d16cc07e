"""Several labels a sample: are single labels a simplex, and sets of labels sums of them?"""

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
)

SPREAD, FRAME, TAGS, OTHER = "ml_nc1", "ml_nc2", "ml_tag_cosine", "ml_tag_other"


def spread(asking: Asking, seen: Seen) -> Answer:
    """Within over between against its cut, where shuffled labels read clearly more."""
    reading = seen.get(SPREAD)
    if reading is None or reading.best is None:
        return Answer(NOT_MEASURED, "Spread within single labels was not read: see the warnings.")
    numbers = seen.numbers(SPREAD)
    high = seen.span(SPREAD)[1]
    said = f"Within single labels of {seen.name} features vary {reading.best:.3g} of between them"
    if reading.null is None:
        return Answer(CANNOT_TELL, f"{said}; it was not compared with shuffled labels.", numbers)
    said += f" (shuffled labels: {reading.null.mean:.3g})"
    if high >= reading.null.low:
        return Answer(CANNOT_TELL, f"{said}: not told apart from noise.", numbers)
    cut = cuts()
    # Class share s and the ratio r say the same: r = (1 - s)/s.
    for answer, name in ((YES, "share_yes"), (PARTLY, "share_partly")):
        if high <= (1 - cut[name]) / cut[name]:
            return Answer(answer, f"{said}.", numbers)
    return Answer(NO, f"{said}.", numbers)


def frame(asking: Asking, seen: Seen) -> Answer:
    """The distance to a simplex against its cuts, where random directions read clearly more."""
    reading = seen.get(FRAME)
    if reading is None or reading.best is None:
        return Answer(CANNOT_TELL, "The means of single labels were not compared with a frame.")
    numbers = seen.numbers(FRAME)
    high = seen.span(FRAME)[1]
    random = "" if reading.null is None else f" (random directions: {reading.null.mean:.2f})"
    said = f"Means of single labels lie {reading.best:.3f} from a simplex{random}"
    if reading.null is None or high >= reading.null.low:
        return Answer(CANNOT_TELL, f"{said}: not told from random ones.", numbers)
    for answer, name in ((YES, "frame_yes"), (PARTLY, "frame_partly")):
        if high < cuts()[name]:
            return Answer(answer, f"{said}.", numbers)
    return Answer(NO, f"{said}; {cuts()['frame_partly']:g} is the cut.", numbers)


def tagged(asking: Asking, seen: Seen) -> Answer:
    """The cosine with the own sum against its cuts, where that with other sums is clearly less."""
    own, other = seen.value(TAGS), seen.value(OTHER)
    if own is None:
        return Answer(NOT_MEASURED, "No set of several labels was there to compare.")
    numbers = seen.numbers(*(key for key in (TAGS, OTHER) if seen.get(key) is not None))
    said = f"Means of several labels meet sums of their single ones at a mean cosine of {own:.3f}"
    if other is None:
        return Answer(CANNOT_TELL, f"{said}; there is no other set to compare with.", numbers)
    said += f", those of other labels at {other:.3f}"
    if own - other < 0.1:
        return Answer(CANNOT_TELL, f"{said}: hardly told apart.", numbers)
    cut = cuts()
    if own >= cut["tag_yes"]:
        return Answer(YES, f"{said}.", numbers)
    if own >= cut["tag_partly"]:
        return Answer(PARTLY, f"{said}; {cut['tag_yes']:g} is the cut.", numbers)
    return Answer(NO, f"{said}; {cut['tag_partly']:g} is the cut.", numbers)


QUESTIONS = (
    Question(
        "multilabel_spread",
        1,
        "Do samples of one label collapse?",
        (SPREAD,),
        spread,
        {
            YES: "Samples of one label have all but met in one point a label",
            PARTLY: "Samples of one label stand closer than labels do, but still spread",
            NO: "Samples of one label vary as much as labels differ, or more",
            CANNOT_TELL: "Whether samples of one label collapse cannot be told",
            NOT_MEASURED: "Spread within labels was not measured",
        },
        headline={
            YES: "samples of one label collapsed",
            PARTLY: "samples of one label partly collapsed",
            NO: "samples of one label not collapsed",
        },
        task="multilabel",
    ),
    Question(
        "multilabel_frame",
        2,
        "Do means of one label form a simplex?",
        (FRAME,),
        frame,
        {
            YES: "The means of single labels stand as a simplex",
            PARTLY: "The means of single labels are near a simplex, though not on it",
            NO: "The means of single labels do not stand as a simplex",
            CANNOT_TELL: "How the means of single labels stand cannot be told",
            NOT_MEASURED: "How the means of single labels stand was not measured",
        },
        task="multilabel",
    ),
    Question(
        "multilabel_tags",
        3,
        "Are means of several labels sums of single ones?",
        (TAGS, OTHER),
        tagged,
        {
            YES: "Means of several labels point along the sums of their single ones",
            PARTLY: "Means of several labels point roughly along the sums of their single ones",
            NO: "Means of several labels do not point along the sums of their single ones",
            CANNOT_TELL: "Whether means of several labels are sums cannot be told",
            NOT_MEASURED: "No sample with several labels was measured",
        },
        task="multilabel",
    ),
)
