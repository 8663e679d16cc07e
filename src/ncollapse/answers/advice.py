"""What degree of collapse a goal wants, what was measured, and what to do: never more certain than
the studies it rests on.

`paradigms.json` holds, per goal, the degree that the literature expects and the claims of this
library's studies that bear on it, with the numbers of their last judged run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from ncollapse.answers.cuts import cuts
from ncollapse.answers.question import Seen, percent, resolved
from ncollapse.record.readings import HEAD, Results, reference_of

COMPLETE, PARTIAL, LITTLE, UNKNOWN = "complete", "partial", "little", "cannot tell"
HOLDS, FAILS = "holds", "does not hold"
# How well the expectation of a goal stands in this version's studies.
SUPPORTED, MIXED, UNSHOWN = "supported", "mixed", "not shown here"
ACTIONS = 3


@dataclass(frozen=True)
class Evidence:
    """A claim of a study that bears on a goal, as it was last judged.

    expects: what the claim says where it holds. supports: whether its holding speaks for the degree
    that the goal is said to want, or against it.
    """

    claim: str
    study: str
    expects: str
    measured: str
    bar: str
    verdict: str
    supports: bool = True

    @property
    def speaks(self) -> int:
        """1 for the expected degree, -1 against it, 0 where it cannot be told."""
        if self.verdict not in (HOLDS, FAILS):
            return 0
        return 1 if (self.verdict == HOLDS) == self.supports else -1

    def __str__(self) -> str:
        return f"{self.expects}: {self.measured} (bar {self.bar}), {self.verdict} [{self.claim}]"


@dataclass(frozen=True)
class Advice:
    """What a measured model is advised for a goal.

    wanted: the degree of collapse that the goal is said to want ("aligned": not one degree, but the
    same simplex on clean and attacked inputs), `why` in words. measured: the
    degree read on the reference split (`share` is its class_share, with `interval`). fits: whether
    they agree; None where either cannot be told. certainty: "supported", "mixed" or "not shown
    here" by `evidence`. actions: at most three.
    """

    goal: str
    wanted: str
    why: str
    measured: str
    share: float | None
    interval: tuple[float, float] | None
    fits: bool | None
    certainty: str
    actions: tuple[str, ...]
    evidence: tuple[Evidence, ...]

    @property
    def sentence(self) -> str:
        """All of it but the evidence, in words."""
        read = "Its degree of collapse cannot be told"
        if self.share is not None and self.measured != UNKNOWN:
            ends = ""
            if self.interval is not None:
                ends = f" (95 %: {percent(self.interval[0])} to {percent(self.interval[1])})"
            read = f"Collapse is {self.measured}: the class explains {percent(self.share)}{ends}"
        verdict = {True: "which fits", False: "which does not fit", None: "which leaves it open"}
        return (
            f"{read}. The goal {self.goal!r} is said to want {self.wanted} collapse "
            f"({self.why}), {verdict[self.fits]}. Evidence of this version: {self.certainty}."
        )

    def __str__(self) -> str:
        lines = [self.sentence]
        lines += [f"  do: {action}" for action in self.actions]
        lines += [f"  seen: {one}" for one in self.evidence]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All fields and the sentence, ready for JSON."""
        found = asdict(self)
        return json.loads(json.dumps({**found, "sentence": self.sentence}))


def goals() -> tuple[str, ...]:
    """The goals that advice is known for."""
    return tuple(_document())


def advise(
    results: Results,
    goal: str,
    layers: Sequence[str] | None = None,
    transfer: Mapping[str, Any] | None = None,
) -> Advice:
    """Advice for a goal from the readings of a measurement; layers: their order from input to head;
    transfer: what a target set found (`Document.transfer`), which then names the layer to take.

    Raises ValueError for an unknown goal.
    """
    known = _document()
    if goal not in known:
        raise ValueError(f"goal={goal!r} is unknown; one of {', '.join(known)} is needed")
    plan = known[goal]
    evidence = tuple(Evidence(**entry) for entry in plan["evidence"])
    split = reference_of(results)
    layer = HEAD if HEAD in results[split] else list(results[split])[-1]
    seen = Seen(split, results, layer)
    degree = degree_of(seen)
    # What is wanted may be no degree: simplices aligned under attack are not read off one split.
    told = degree != UNKNOWN and plan["wants"] in (COMPLETE, PARTIAL, LITTLE)
    fits = degree == plan["wants"] if told else None
    reading = seen.get("class_share")
    actions = [] if fits else list(plan["actions"].get(degree, ()))
    if goal == "transfer":
        taken = _best(transfer or {})
        if degree == COMPLETE and not taken:
            taken = _earlier(results[split], layer, layers)
        actions = taken + actions
    return Advice(
        goal=goal,
        wanted=plan["wants"],
        why=plan["why"],
        measured=degree,
        share=None if reading is None else reading.best,
        interval=None if reading is None else reading.interval,
        fits=fits,
        certainty=_certainty(evidence),
        actions=tuple(actions[:ACTIONS]),
        evidence=evidence,
    )


def degree_of(seen: Seen) -> str:
    """Complete, partial or little collapse, by the cuts of the question `collapsed`; cannot tell
    where an interval crosses a cut or labels are not told from chance."""
    reading = seen.get("class_share")
    if reading is None or reading.best is None or resolved(seen) is False:
        return UNKNOWN
    low, high = seen.span("class_share")
    cut = cuts()
    if low >= cut["share_yes"]:
        return COMPLETE
    if high < cut["share_partly"]:
        return LITTLE
    if low >= cut["share_partly"] and high < cut["share_yes"]:
        return PARTIAL
    return UNKNOWN


def _certainty(evidence: Sequence[Evidence]) -> str:
    votes = [one.speaks for one in evidence]
    if votes and all(vote >= 0 for vote in votes) and any(votes):
        return SUPPORTED
    return MIXED if any(vote > 0 for vote in votes) else UNSHOWN


def _best(transfer: Mapping[str, Any]) -> list[str]:
    """The layer that a target set did best at, where that is not the last one."""
    if not transfer or transfer["best"] == transfer["last"]:
        return []
    main = str(transfer["main"])
    best, last = (
        transfer["layers"][transfer[end]]["few_shot"][main]["centres"]["accuracy"]
        for end in ("best", "last")
    )
    where = transfer["best"]
    named = "the input itself" if where == "input" else f"features of layer {where!r}"
    return [
        f"take {named}: {percent(best)} of {transfer['target']} after {main} shots a class, "
        f"against {percent(last)} at the last layer"
    ]


def _earlier(layers: Mapping[str, Any], head: str, order: Sequence[str] | None) -> list[str]:
    """The last measured layer whose collapse is not complete, for a task to come."""
    for name in reversed(
        [layer for layer in (order or layers) if layer in layers and layer != head]
    ):
        reading = layers[name].get("class_share")
        best = None if reading is None else reading.best
        if best is not None and best < cuts()["share_yes"]:
            kept = percent(1 - best)
            return [f"take features of layer {name!r}, which keeps {kept} within classes"]
    return []


@cache
def _document() -> Mapping[str, Any]:
    text = resources.files("ncollapse.answers").joinpath("paradigms.json").read_text("utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found
