"""Certificate: what is proven of a point."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Certificate:
    """What is proven of a point, whoever found it.

    lower_bound: no point of the problem lies below it; None where no bound is known. kind: "closed
    form", "dual", "convexity" (of every class's own problem) or "none". stationarity: largest entry
    of the gradient, None if not computed. statement: one sentence.
    """

    lower_bound: float | None
    kind: str
    statement: str
    stationarity: float | None = None
