"""Claims: a published sentence, the number that tests it, the bar it has to clear, a verdict.

Bars are written in code before a claim is first run, and are never moved afterwards. Negative
statements are worded so that "holds" confirms them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "cannot tell"
VERDICTS = (HOLDS, FAILS, UNKNOWN)
RULES = ("worst", "mean")
ROUNDING = 1e-12


@dataclass(frozen=True)
class Bar:
    """What a number has to reach: low ≤ value ≤ high, either end may be open.

    Raises ValueError when both are open or the low end lies above the high one.
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError("a bar without low and high says nothing; give one of them or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low={self.low} lies above high={self.high}; swap them")

    def clears(self, value: float) -> bool:
        """Whether a value lies within; the last digits of a float are no miss, so that a rank
        correlation of .9, which may come out as .8999999999999998, reaches .9."""
        low = self.low is None or value >= self.low - ROUNDING * abs(self.low)
        return low and (self.high is None or value <= self.high + ROUNDING * abs(self.high))

    def shortfall(self, value: float) -> float:
        """How far a value lies outside, negative inside: orders the worst of many."""
        parts = []
        if self.low is not None:
            parts.append(self.low - value)
        if self.high is not None:
            parts.append(value - self.high)
        return max(parts)

    def __str__(self) -> str:
        if self.low is None:
            return f"≤ {self.high:g}"
        if self.high is None:
            return f"≥ {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Claim:
    """One claim of a study, before anything is run.

    text: what is claimed, with the number that is measured. source: who claims it, and whether the
    statement was read, remembered or conjectured. rule: how seeds become one number.

    - "worst": the value farthest from the bar, for statements about every start or every point;
    - "mean": mean over seeds with the 95 % interval of Student's t.

    seeds: fewer finite values than this are "cannot tell".
    basis: where the bar comes from: theory, the paper, or a pilot run, and what would refute the
    claim. history: what went by this id before, and why it changed.
    """

    id: str
    text: str
    source: str
    bar: Bar
    unit: str = ""
    rule: str = "worst"
    seeds: int = 1
    basis: str = ""
    history: str = ""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule {self.rule!r} is unknown; one of {', '.join(RULES)} is needed")
        if self.rule == "mean" and self.seeds < 2:
            raise ValueError(f"claim {self.id!r}: an interval of a mean needs seeds ≥ 2")

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on where the bar comes from, and on what the claim was before."""
        named = (("bar from", self.basis), ("history", self.history))
        return tuple(f"{name}: {said}" for name, said in named if said)

    def judge(
        self, values: Sequence[float | None], failed: int = 0, trial: bool = False
    ) -> ClaimResult:
        """The verdict on one value a run, None where a run had no number; `failed` runs count
        against a decision. trial: the runs were too small for the claim, whatever they gave.

        - a trial, any failed or missing value, or fewer than `seeds` of them: cannot tell;
        - worst: holds where every value clears the bar, else does not hold;
        - mean: holds where the whole interval clears the bar, does not hold where it lies wholly
          outside, else cannot tell.
        """
        known = tuple(float(v) for v in values if v is not None and math.isfinite(v))
        measured, interval = self._summary(known)
        missing = len(values) - len(known)
        if trial:
            verdict, reason = UNKNOWN, "this size tries the machinery, not the claim"
        elif failed or missing or len(known) < self.seeds or interval is None:
            verdict, reason = UNKNOWN, self._missing(len(known), missing, failed)
        elif self.rule == "worst":
            verdict, reason = (HOLDS if all(map(self.bar.clears, known)) else FAILS), ""
        else:
            verdict = self._interval_verdict(interval)
            reason = "the 95 % interval crosses the bar" if verdict == UNKNOWN else ""
        return ClaimResult(self, measured, interval, known, verdict, reason)

    def _summary(self, known: tuple[float, ...]) -> tuple[float | None, tuple[float, float] | None]:
        if not known:
            return None, None
        if self.rule == "worst":
            return max(known, key=self.bar.shortfall), (min(known), max(known))
        mean = sum(known) / len(known)
        if len(known) < 2:
            return mean, None
        from scipy.stats import t

        variance = sum((value - mean) ** 2 for value in known) / (len(known) - 1)
        half = float(t.ppf(0.975, len(known) - 1)) * math.sqrt(variance / len(known))
        return mean, (mean - half, mean + half)

    def _interval_verdict(self, interval: tuple[float, float]) -> str:
        low, high = interval
        if self.bar.clears(low) and self.bar.clears(high):
            return HOLDS
        above = self.bar.high is not None and low > self.bar.high
        below = self.bar.low is not None and high < self.bar.low
        return FAILS if above or below else UNKNOWN

    def _missing(self, known: int, missing: int, failed: int) -> str:
        if failed:
            return f"{failed} run{'s' * (failed > 1)} failed"
        if missing:
            return f"{missing} run{'s' * (missing > 1)} gave no finite number"
        return f"{known} of at least {self.seeds} seeds"


def worst(id: str, source: str, bar: Bar, unit: str = "", seeds: int = 1) -> Callable[[str], Claim]:
    """A claim on every value, as worst(…)(text): the text, which is long, stands last."""
    return lambda text: Claim(id, text, source, bar, unit, "worst", seeds)


def mean(id: str, source: str, bar: Bar, unit: str = "", seeds: int = 3) -> Callable[[str], Claim]:
    """A claim on the mean over seeds, as mean(…)(text)."""
    return lambda text: Claim(id, text, source, bar, unit, "mean", seeds)


def noted(
    claims: Iterable[Claim], basis: Mapping[str, str], history: Mapping[str, str]
) -> tuple[Claim, ...]:
    """The claims with their basis and history, where these have one by id."""
    return tuple(
        replace(claim, basis=basis.get(claim.id, ""), history=history.get(claim.id, ""))
        for claim in claims
    )


def ids(claims: Iterable[Claim]) -> tuple[str, ...]:
    """The ids of claims, in order."""
    return tuple(claim.id for claim in claims)


@dataclass(frozen=True)
class ClaimResult:
    """A claim with what was measured: the number, its interval, one value a run, the verdict, and
    the reason where it is "cannot tell"."""

    claim: Claim
    measured: float | None
    interval: tuple[float, float] | None
    values: tuple[float, ...]
    verdict: str
    reason: str = ""

    def brief(self) -> dict[str, Any]:
        """id, text, source, measured, bar, verdict."""
        return {
            "id": self.claim.id,
            "text": self.claim.text,
            "source": self.claim.source,
            "measured": self.measured,
            "bar": str(self.claim.bar),
            "verdict": self.verdict,
        }

    def to_dict(self) -> dict[str, Any]:
        """`brief` with the bar's ends, the unit, the rule, notes, the interval and every value."""
        return {
            **self.brief(),
            "low": self.claim.bar.low,
            "high": self.claim.bar.high,
            "unit": self.claim.unit,
            "rule": self.claim.rule,
            "notes": list(self.claim.notes),
            "interval": None if self.interval is None else list(self.interval),
            "values": list(self.values),
            "reason": self.reason,
        }
