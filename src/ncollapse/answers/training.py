"""Is training in its terminal phase?"""

from __future__ import annotations

from ncollapse.answers.question import (
    NO,
    NOT_MEASURED,
    PARTLY,
    YES,
    Answer,
    Asking,
    Question,
    Seen,
    percent,
)
from ncollapse.metrics.phase import terminal_phase
from ncollapse.record.readings import Number


def terminal(asking: Asking, seen: Seen) -> Answer:
    """Whether training error has become zero to stay, from the readings along training."""
    trace, layer = asking.trace, asking.layer
    if trace is None or not trace.rows:
        return Answer(
            NOT_MEASURED, "That needs readings along training: follow a run with nc.Tracker."
        )
    found = terminal_phase(trace, layer=layer)
    if found is None:
        return Answer(NOT_MEASURED, "The trace holds no training error, nor accuracy on train.")
    if found.start is None:
        return Answer(
            NO, f"Training error is {percent(found.last_error)} at the last reading ({found.last})."
        )
    said = f"Training error stays at zero from {found.start} to {found.last}"
    change = found.changes.get("nc1_fisher")
    numbers: tuple[Number, ...] = ()
    if change is not None:
        said += f"; NC1 went from {change.first:.3g} to {change.last:.3g} since"
        numbers = (Number("nc1_fisher", "train", layer, change.last),)
    if found.readings < 2:
        return Answer(PARTLY, f"{said}: it has only begun.", numbers)
    return Answer(YES, f"{said}.", numbers)


QUESTIONS = (
    Question("terminal_phase", 6, "In the terminal phase?", ("nc1_fisher", "accuracy"), terminal),
)
