"""Cuts chosen on one half of the reference models, and error rates on the other. No torch here.

A cut on the way to yes is chosen for the least of ten times the wrong yes (truth not yes or no)
plus the missed yes (truth yes, another answer that is not cannot tell); a cut on the way to no
for the least of ten times the wrong no (truth yes) plus the missed no (truth no, answered
partly). Of equals the one nearest to the cuts before is taken, so that a cut moves only where
models ask for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from ncollapse.lab.calibration.judged import ASKED, Judged, Row, answered

SPLIT_SEED = 0
WORTH = 10
CUTS = {
    "collapsed": (("share_yes",), ("share_partly",)),
    "frame": (("angle_yes", "frame_yes"), ("angle_partly", "frame_partly")),
    "dual": (("alignment_yes",), ("alignment_partly",)),
    "nearest": (("mismatch_yes",), ("mismatch_partly",)),
}
# What the cuts were before they were calibrated.
BEFORE = {
    "share_yes": 0.9,
    "share_partly": 0.5,
    "angle_yes": 0.2,
    "frame_yes": 0.2,
    "angle_partly": 0.8,
    "frame_partly": 0.6,
    "alignment_yes": 0.95,
    "alignment_partly": 0.5,
    "mismatch_yes": 0.01,
    "mismatch_partly": 0.1,
}
GRID = {
    "share_yes": (0.6, 0.65, 0.7, 0.75, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98),
    "share_partly": (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    "angle_yes": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6),
    "frame_yes": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5),
    "angle_partly": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "frame_partly": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0),
    "alignment_yes": (0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99),
    "alignment_partly": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "mismatch_yes": (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05),
    "mismatch_partly": (0.03, 0.05, 0.1, 0.15, 0.2, 0.3),
}
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Rates:
    """Counts (of, among): see the fields' names. undecided: models whose truth is not known."""

    wrong_yes: tuple[int, int]
    wrong_no: tuple[int, int]
    cannot_tell: tuple[int, int]
    right_yes: tuple[int, int]
    right_no: tuple[int, int]
    undecided: int

    @classmethod
    def of(cls, pairs: Pairs) -> Rates:
        """Of (truth, answer) of each model."""

        def count(truths: tuple[str, ...], answer: str) -> tuple[int, int]:
            among = [said for known, said in pairs if known in truths]
            return among.count(answer), len(among)

        return cls(
            wrong_yes=count(("not yes", "no"), "yes"),
            wrong_no=count(("yes",), "no"),
            cannot_tell=([said for _, said in pairs].count("cannot tell"), len(pairs)),
            right_yes=count(("yes",), "yes"),
            right_no=count(("no",), "no"),
            undecided=sum(known == "undecided" for known, _ in pairs),
        )


def percent(of: tuple[int, int]) -> float | None:
    """A rate in %, None among none."""
    return 100 * of[0] / of[1] if of[1] else None


@dataclass(frozen=True)
class Conclusion:
    """cuts: chosen. chosen, held: rates by question on the half that chose them and on the other.
    models: how many each half has."""

    cuts: dict[str, float]
    chosen: dict[str, Rates]
    held: dict[str, Rates]
    models: tuple[int, int]


def halves(rows: Iterable[Row], seed: int = SPLIT_SEED) -> tuple[list[Row], list[Row]]:
    """Families halved each by itself, whole groups at a time, in an order that the seed fixes."""
    families: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        families.setdefault(row["family"], {}).setdefault(row["group"], []).append(row)
    found: tuple[list[Row], list[Row]] = ([], [])
    turn = 0
    for family in sorted(families):
        groups = sorted(families[family])
        Random(f"{seed} {family}").shuffle(groups)
        for group in groups:
            found[turn % 2].extend(families[family][group])
            turn += 1
    return found


def conclude(rows: Sequence[Row], seed: int = SPLIT_SEED) -> Conclusion:
    """Choose cuts on one half and rate them on the other."""
    first, second = ([Judged.of(row) for row in half] for half in halves(rows, seed))
    cuts = dict(BEFORE)
    for question, (to_yes, to_no) in CUTS.items():
        cuts |= _least(first, question, cuts, to_yes, _yes_cost)
        cuts |= _least(first, question, cuts, to_no, _no_cost)
    rated = [
        {name: Rates.of(answered(half, name, cuts)) for name in ASKED} for half in (first, second)
    ]
    return Conclusion(cuts, rated[0], rated[1], (len(first), len(second)))


def _least(
    models: Sequence[Judged],
    question: str,
    cuts: Mapping[str, float],
    names: Sequence[str],
    cost: Any,
) -> dict[str, float]:
    """The candidate of least cost, of equals the nearest to the cuts before in steps of the
    grid."""
    best: tuple[int, int, dict[str, float]] | None = None
    for values in product(*(GRID[name] for name in names)):
        candidate = dict(zip(names, values, strict=True))
        if not _ordered({**cuts, **candidate}, names):
            continue
        steps = sum(
            abs(GRID[name].index(value) - GRID[name].index(BEFORE[name]))
            for name, value in candidate.items()
        )
        found = cost(answered(models, question, {**cuts, **candidate}))
        if best is None or (found, steps) < best[:2]:
            best = (found, steps, candidate)
    # No candidate lies beyond the cut on the way to yes: the one before stays.
    return {name: cuts[name] for name in names} if best is None else best[2]


def _ordered(cuts: Mapping[str, float], names: Sequence[str]) -> bool:
    """Whether partly is wider than yes, where it is partly that is chosen."""
    wider = [name for name in names if name.endswith("_partly")]
    for name in wider:
        yes, partly = cuts[name.replace("_partly", "_yes")], cuts[name]
        # Shares and cosines are large where all is well, angles, distances and mismatches small.
        large = name in ("share_partly", "alignment_partly")
        if (partly >= yes) if large else (partly <= yes):
            return False
    return True


def _yes_cost(pairs: Pairs) -> int:
    wrong = sum(said == "yes" and known in ("not yes", "no") for known, said in pairs)
    missed = sum(known == "yes" and said in ("partly", "no") for known, said in pairs)
    return WORTH * wrong + missed


def _no_cost(pairs: Pairs) -> int:
    wrong = sum(said == "no" and known == "yes" for known, said in pairs)
    missed = sum(known == "no" and said == "partly" for known, said in pairs)
    return WORTH * wrong + missed
