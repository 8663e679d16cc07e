"""What a run says of the law of the classifier's sum: that it agrees, or what breaks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ncollapse.record.readings import AGREES, BREAKS, NO_LAW
from ncollapse.tracking.head_rules import NoLaw

# Deviations up to so many units of the weights' rounding are rounding: measured, up to 50.
ROUNDING = 1000
# Weights whose rounding comes to more than this say nothing.
LOOSE = 0.1
# ‖1ᵀG‖/(√K ‖G‖): below the first it is rounding, up to the second that of logits in half precision,
# and up to the third where gradients have no more digits than that.
ROUNDED, MIXED, COARSE = 1e-5, 1e-2, 0.1
# Rounding has no direction: a cosine with s above this at every look, of so many, is a loss.
STEADY, LOOKS = 0.05, 4
# What a run that goes on has lost, by what was counted.
RESUMED = {
    "other weights": "with a head whose sum is not that of the checkpoint",
    "no momentum": "without the optimizer's momentum: load its state too",
    "other momentum": "with a momentum that is not that of the checkpoint",
}
# The cosine between 1ᵀG and s from which on a penalty on the weights is named.
PENALTY = 0.99


@dataclass(frozen=True)
class Seen:
    """What was seen along a run, relative to the size of the sum at its start.

    error: largest deviation from the predicted path. moved: largest change of the sum between two
    steps. unbalanced: largest ‖1ᵀG‖/(√K ‖G‖). along: least cosine between 1ᵀG and s over so many
    looks. coarse: whether a gradient had the digits of half precision only. ties: entries of a
    gradient that share its largest size. epsilon: rounding of the weights. finite: whether the head
    still is. none: why there is no law.
    """

    steps: int
    skipped: int
    epsilon: float
    error: float | None
    moved: float
    unbalanced: float
    along: float
    finite: bool
    looks: int
    coarse: bool
    ties: int
    counts: Mapping[str, int]
    notes: Mapping[str, str]
    none: NoLaw | None
    optimizer: str


@dataclass(frozen=True)
class LawReading:
    """What came of a law on a run.

    answer: "agrees", "breaks" or "does not apply". error: the largest deviation of s = Wᵀ1 from its
    predicted path, over the size of s at the start, or a tenth of the largest ‖W‖_F seen where that
    is larger.
    names: what breaks the law, or why there is none. notes: what is worth knowing and breaks
    nothing. sentence: all of it in words.
    """

    answer: str
    error: float | None
    steps: int
    names: tuple[str, ...]
    notes: tuple[str, ...]
    sentence: str
    law: str = "head_sum"

    def __str__(self) -> str:
        return "\n".join((self.sentence, *(f"note: {said}" for said in self.notes)))

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        found = asdict(self)
        return found | {"names": list(self.names), "notes": list(self.notes)}


def told(seen: Seen) -> LawReading:
    """The verdict with its reasons."""
    notes = [text for name, text in seen.notes.items() if name != "tied"]
    if not seen.finite:
        notes.append("the head's weights are not finite any more; what is said is of before")
    if seen.skipped:
        notes.append(
            f"{seen.skipped} times no step was made between two calls, as where a gradient scaler "
            "meets an overflow"
        )
    none = seen.none
    if none is None and seen.epsilon * ROUNDING > LOOSE:
        none = NoLaw("precision", "weights in half precision round the sum by more than it moves")
    if none is None and seen.steps == 0:
        still = seen.counts.get("still", 0)
        why = f"no gradient reached the head in {still} steps" if still else "no step was seen"
        none = NoLaw("frozen" if still else "unseen", why)
    lasting = _lasting(seen)
    if none is not None and not lasting:
        said = f"the law of the classifier's sum does not apply: {none.why}"
        return LawReading(NO_LAW, seen.error, seen.steps, (none.name,), tuple(notes), said)
    if none is not None or seen.error is None:
        reasons = lasting | ({} if none is None else {none.name: none.why})
        said = f"the classifier's sum cannot be followed through: {'; '.join(reasons.values())}"
        return LawReading(BREAKS, seen.error, seen.steps, tuple(reasons), tuple(notes), said)
    reasons = lasting | _reasons(seen, ROUNDING * seen.epsilon)
    size = f"{seen.error:.0e} over {seen.steps} steps"
    if list(reasons) == ["step"] and not seen.finite:
        said = "the law of the classifier's sum cannot be told: its weights left what numbers hold"
        return LawReading(NO_LAW, seen.error, seen.steps, ("diverged",), tuple(notes), said)
    if list(reasons) == ["precision"]:
        said = f"the law of the classifier's sum cannot be told to better than {size}: "
        said += reasons["precision"]
        return LawReading(NO_LAW, seen.error, seen.steps, tuple(reasons), tuple(notes), said)
    if not reasons:
        said = f"the classifier's sum follows the law to {size}"
        return LawReading(AGREES, seen.error, seen.steps, (), tuple(notes), said)
    small = seen.error <= ROUNDING * seen.epsilon
    said = "follows the rates as they were set, to" if small else "is off its law by"
    said = f"the classifier's sum {said} {size}: {'; '.join(reasons.values())}"
    return LawReading(BREAKS, seen.error, seen.steps, tuple(reasons), tuple(notes), said)


def _lasting(seen: Seen) -> dict[str, str]:
    """What breaks the law however small the deviation, by name."""
    found: dict[str, str] = {}
    if seen.counts.get("replaced"):
        found["replaced"] = "the head's weight was replaced by another parameter during training"
    if seen.counts.get("schedule"):
        found["schedule"] = (
            f"the scheduler moved more than once between two steps, {seen.counts['schedule']} "
            "times, so the learning rates are not those of its plan"
        )
    lost = [said for name, said in RESUMED.items() if seen.counts.get(name)]
    if lost:
        found["resumed"] = f"training went on from a checkpoint {' and '.join(lost)}"
    return found


def _reasons(seen: Seen, tolerance: float) -> dict[str, str]:
    """What breaks the law, by name; nothing where it is followed."""
    found: dict[str, str] = {}
    assert seen.error is not None
    if not seen.error > tolerance:
        return found
    if seen.moved > tolerance:
        found["outside"] = (
            "something other than the optimizer writes to the head between steps (initialised "
            "anew, clamped, averaged, loaded)"
        )
    steady = seen.along > STEADY and seen.looks >= LOOKS
    told = seen.unbalanced > (COARSE if seen.coarse else MIXED)
    if told or (seen.unbalanced > ROUNDED and steady and not seen.coarse):
        name, text = _of_gradient(seen)
        found[name] = text
    elif seen.unbalanced > ROUNDED and not found:
        found["precision"] = (
            "gradients sum to zero over classes up to rounding of half precision only: logits "
            "under autocast, or a loss that sees a little more of them than their softmax"
        )
    if not found:
        found["step"] = (
            f"gradients sum to zero over classes, and yet the steps are not those that the options "
            f"of {seen.optimizer} make"
        )
    return found


def _of_gradient(seen: Seen) -> tuple[str, str]:
    """Why the head's gradient does not sum to zero over classes."""
    if "tied" in seen.notes:
        return "tied", f"the head is tied: {seen.notes['tied']}, and has gradients of both"
    if seen.along > PENALTY:
        return "penalty", (
            "the loss holds a penalty on the head's weights, a decay beside that of the optimizer"
        )
    if seen.ties > 2:
        return "clipping", "gradients are clipped entry by entry, which leaves no sum of zero"
    return "loss", (
        "the head's gradient does not sum to zero over classes: the loss depends on more of the "
        "logits than their softmax (squared errors, margins of raw logits, a penalty on logits), "
        "or the logits are not the head's output alone"
    )
