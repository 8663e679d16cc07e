"""Numbers of many: slopes through points, and the spread of means with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """Of the least-squares line through the points."""
    return float(np.polyfit(np.asarray(x), np.asarray(y), 1)[0])


def power(rows: Sequence[Mapping[str, Any]], x: str, y: str, least: float = 0.0) -> float:
    """Slope of log y over log x, columns of the rows with x ≥ least; NaN where a value is not
    positive."""
    table = np.array([(row[x], row[y]) for row in rows if row[x] >= least])
    return slope(*np.log(table.T)) if (table > 0).all() else float("nan")


def jackknife(rows: Sequence[Sequence[float]]) -> list[float]:
    """Pseudo-values n s - (n-1) s₍₋ᵢ₎ of s = max - min over columns of the mean over rows."""
    table = np.array(rows)
    count = len(table)
    whole = float(np.ptp(table.mean(0)))
    if count == 1:
        return [whole]
    return [
        count * whole - (count - 1) * float(np.ptp(np.delete(table, i, axis=0).mean(0)))
        for i in range(count)
    ]


def paired(runs: Sequence[Mapping[str, Any]], arm: str, base: str) -> list[float]:
    """Accuracy of one arm minus that of another, in points, row by row of every run."""
    rows = [row["accuracy"] for run in runs for row in run["rows"]]
    return [100 * (row[arm] - row[base]) for row in rows]
