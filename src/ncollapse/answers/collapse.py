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
    on_splits,
    percent,
    resolved,
)
from ncollapse.record.readings import Reading


def _unread(asking: Asking, seen: Seen) -> str:
    """Why class share has no value, by how many samples the classes have."""
    counts = [row.count for row in asking.rows(seen)]
    if counts and max(counts) > 1 and len(counts) > 1:
        return "All features are alike: nothing varies, neither within classes nor between them."
    return (
        "Every sample is a class of its own or only one class is present, so spread within classes "
        "is unknown."
    )


def collapsed(asking: Asking, seen: Seen) -> Answer:
    """The mean over classes and the worst class, each with its interval, against their cuts; unless
    labels are not told from shuffled ones."""
    share, worst = seen.get("class_share"), seen.get("worst_share")
    numbers = seen.numbers("class_share", "worst_share", "nc1_fisher", "nc1_ratio")
    if share is None or share.best is None:
        return Answer(CANNOT_TELL, _unread(asking, seen), numbers)
    said = f"The class explains {percent(share.best)} of the feature variance on {seen.name}"
    if share.null is not None:
        said += f" (shuffled labels: {percent(share.null.mean)})"
    if resolved(seen) is False:
        return Answer(CANNOT_TELL, f"{said}: not told apart from chance.", numbers)
    cut = cuts()
    low, high = seen.span("class_share")
    named = _named(asking, seen)
    if worst is None or worst.best is None:
        # Past the pair budget single classes are not looked at.
        if low >= cut["share_yes"]:
            return Answer(PARTLY, f"{said}; single classes were not looked at.", numbers)
    else:
        least = seen.span("worst_share")[0]
        if low >= cut["share_yes"] and least >= cut["share_yes"]:
            if seen.at_floor("nc1_ratio"):
                said += ", at the precision floor: deeper collapse cannot be seen in this dtype"
            return Answer(YES, f"{said}, {percent(worst.best)} for {named}, the worst.", numbers)
        if low >= cut["share_yes"]:
            return Answer(PARTLY, f"{said}, but only {_share(worst)} for {named}.", numbers)
    if high >= cut["share_partly"]:
        ends = f" (95 %: {percent(low)} to {percent(high)})" if share.interval else ""
        also = ""
        if worst is not None and worst.best is not None:
            also = f", {percent(max(worst.best, 0.0))} for {named}, the worst"
        held = f"{percent(cut['share_yes'])} is the cut"
        return Answer(PARTLY, f"{said}{ends}{also}; {held}.", numbers)
    return Answer(NO, f"{said}; {percent(cut['share_partly'])} is the cut.", numbers)


def _named(asking: Asking, seen: Seen) -> str:
    """The class that means explain least of, and the one it is not told from."""
    rows = [row for row in asking.rows(seen) if row.share is not None]
    if not rows:
        return "one class"
    row = min(rows, key=lambda row: (row.share or 0.0, -row.within))
    return f"class {row.name} against {row.rival}"


def _share(worst: Reading) -> str:
    """The share of the worst class with what it is held against."""
    assert worst.best is not None
    cut = percent(cuts()["share_yes"])
    best = max(worst.best, 0.0)
    if worst.interval is None:
        return f"{percent(best)} ({cut} is the cut)"
    low, high = (max(end, 0.0) for end in worst.interval)
    return f"{percent(best)} (95 %: {percent(low)} to {percent(high)}; {cut} is the cut)"


QUESTIONS = (
    Question(
        "collapsed",
        1,
        "Collapsed on {split}?",
        ("class_share", "worst_share", "nc1_fisher", "nc1_ratio"),
        collapsed,
        {
            YES: "On {split}, samples lie near their class mean for how far means lie apart",
            PARTLY: "On {split}, classes stand apart, yet not all of them have collapsed",
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
        headline=on_splits("collapsed"),
        unasked="Only one split was measured; add a split array or a second file to see held-out "
        "data, which often does not collapse.",
    ),
)
