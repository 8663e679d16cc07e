"""Will it transfer? By what a target task found in every layer and over-collapse, never by NC1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

Found = Mapping[str, Any]
INPUT = "input"


def transfer(asking: Asking, seen: Seen) -> Answer:
    """No where inputs do as well or no layer beats chance; partly where an earlier layer is better,
    or classes are mixed with what lies around them; yes where neither is so."""
    found: Found = asking.transfer
    if not found:
        return Answer(NOT_MEASURED, "No other task was measured; collapse alone does not say.")
    best, last, cut = found["best"], found["last"], cuts()
    main, chance = found["main"], 1 / found["num_classes"]
    top, end = (_accuracy(found, name) for name in (best, last))
    said = (
        f"{main}-shot accuracy on {found['num_classes']} classes of {found['target']} is "
        f"{percent(end['accuracy'])} at {last}"
    )
    if top["low"] <= chance:
        return Answer(NO, f"{said}; no layer beats chance ({percent(chance)}).")
    gain, low, _ = found["gain"]
    earlier = best != last and low > 0 and gain >= cut["transfer_gain"]
    if earlier:
        said += f" and {percent(top['accuracy'])} at {best} ({_points(found['gain'])})"
    mixed = _mixed(found, last)
    evidence = _evidence(found, last)
    below = found.get("over_input")
    if below is not None and below[2] < -cut["transfer_gain"]:
        return Answer(
            NO,
            f"{said}: below the inputs themselves ({_points([-v for v in below])} for these)."
            f"{_advice(found, best) if earlier else ''}{evidence}",
        )
    if earlier:
        return Answer(PARTLY, f"{said}.{_advice(found, best)}{evidence}")
    if mixed is None:
        return Answer(
            CANNOT_TELL,
            f"{said}, and no earlier layer is better; for tasks other than this one over-collapse "
            "decides, which was not read: pass source data.",
        )
    if mixed:
        return Answer(PARTLY, f"{said}, and no earlier layer is better.{evidence}")
    return Answer(YES, f"{said}, and no earlier layer is better.{evidence}")


def _accuracy(found: Found, layer: str) -> Mapping[str, float]:
    shown: Mapping[str, float] = found["layers"][layer]["few_shot"][str(found["main"])]["centres"]
    return shown


def _mixed(found: Found, layer: str) -> bool | None:
    """Whether the layer mixes classes with what adjoins them; None where that was not read."""
    over = found["over_collapse"].get(layer)
    return None if over is None else bool(over["low"] > cuts()["mixed_gap"])


def _evidence(found: Found, layer: str) -> str:
    over = found["over_collapse"].get(layer)
    if over is None:
        return " Over-collapse was not read."
    return (
        f" A probe tells classes from their adjacent regions at AUC {over['inputs']:.3f} in inputs "
        f"and {over['features']:.3f} at {layer}; directions off the class means "
        f"{'crowd' if over['entropy'] < 0 else 'spread'} by {abs(over['entropy']):.2f} nats."
    )


def _advice(found: Found, best: str) -> str:
    kept = found["kept"].get(best)
    if best == INPUT:
        return ""
    if kept is None:
        return f" Prefer {best} for new tasks."
    return f" {best} keeps {100 * kept:.0f} % within-class variance; prefer it for new tasks."


def _points(three: list[float]) -> str:
    """A gain and its interval, in points."""
    gain, low, high = (100 * value for value in three)
    return f"{gain:+.1f} points, 95 % {low:.1f} to {high:.1f} over draws"


QUESTIONS = (
    Question("transfer", 7, "Will it transfer?", (), transfer, basis="The target set, seen below."),
)
