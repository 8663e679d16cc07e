"""Certificate: what is proven of a point."""

from __future__ import annotations

import sys
from dataclasses import dataclass


def relative_gap(gap: float, objective: float) -> float:
    """gap / |f|, however small f is; an objective of exactly 0 counts as the smallest normal
    number."""
    return gap / max(abs(objective), sys.float_info.min)


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
