"""Whether two readings differ beyond noise: decided by their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ncollapse.metrics.catalog import METRICS
from ncollapse.record.readings import Reading


@dataclass(frozen=True)
class Difference:
    """Second reading minus first. interval: 95 %, of the difference; differs: whether 0 lies
    outside it, None where the readings have no interval to tell by."""

    value: float | None
    interval: tuple[float, float] | None = None
    differs: bool | None = None


def difference(key: str, first: Reading, second: Reading) -> Difference:
    """The difference of the best values, with an interval where both have one.

    For estimates a, b in [l, u] the ends are b - a - √((b - l_b)² + (u_a - a)²) and
    b - a + √((u_b - b)² + (a - l_a)²): exact for normal errors, and right for lopsided intervals
    (shares, logarithms). Errors count as independent, which is too wide for two readings of the
    same samples. Readings of a classifier alone have no errors: they differ where they are unequal.
    Other definitions are never said to differ. Source: Zou & Donner 2008 (remembered, not read).
    """
    a, b = first.best, second.best
    if a is None or b is None:
        return Difference(None)
    if first.definition != second.definition:
        return Difference(b - a)
    row = METRICS.get(key)
    if row is not None and row.of_head and first.interval is None and second.interval is None:
        return Difference(b - a, None, not math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12))
    if first.interval is None or second.interval is None:
        return Difference(b - a)
    # An interval that leaves its own estimate out reaches it at least.
    low_a, high_a = min(first.interval[0], a), max(first.interval[1], a)
    low_b, high_b = min(second.interval[0], b), max(second.interval[1], b)
    low = b - a - math.hypot(b - low_b, high_a - a)
    high = b - a + math.hypot(high_b - b, a - low_a)
    return Difference(b - a, (low, high), not low <= 0 <= high)
