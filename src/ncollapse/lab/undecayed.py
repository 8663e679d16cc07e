"""Gradient flow without decay in studies: many starts, where they are late, and how fast."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncollapse.lab.statistics import slope
from ncollapse.theory.problems import ULPM
from ncollapse.theory.solvers.flow import FlowPath, aligned_margin, flow

Array = NDArray[np.float64]
# Powers are fitted after this share of log t.
LATE = 0.2
# Looser than the flow's own: the difference between both is an upper bound of its error.
LOOSE = 1e-9
FALLING = ("nc1", "nc2", "nc3")


@dataclass(frozen=True, eq=False)
class Late:
    """What flows from several starts read at the end; each field but `paths` is one value a start.

    share: of the largest normalised margin. growth: ‖W‖² + ‖H‖² at the end over that at half of
    log t. loss: over that of the aligned flow. powers: of log t, by reading, fitted to its last
    four fifths. constants: (1 - share) log t, NC1 log t, at the end. stationarity: sine between the
    point and its velocity, 0 at a KKT direction.
    """

    paths: tuple[FlowPath, ...]
    share: list[float]
    growth: list[float]
    loss: list[float]
    powers: dict[str, list[float]]
    constants: dict[str, list[float]]
    stationarity: list[float]

    def summary(self) -> dict[str, Any]:
        """Every number of every start, with mean and standard deviation of the constants, and the
        shares along every path from t = 1 on."""
        times = self.paths[0].t
        spread = {key: [float(np.mean(v)), float(np.std(v))] for key, v in self.constants.items()}
        return {
            "share": self.share,
            "growth": self.growth,
            "loss": self.loss,
            "powers": self.powers,
            "constants": spread,
            "stationarity": self.stationarity,
            "t": times[times >= 1],
            "paths": [shares(path)[times >= 1] for path in self.paths],
        }


def shares(path: FlowPath) -> Array:
    """Normalised margins over the largest. Raises ValueError for unequal counts."""
    if path.largest_margin is None:
        raise ValueError(f"counts={path.problem.counts}; equal counts are needed")
    return path.normalised_margin / path.largest_margin


def late(problem: ULPM, seeds: Iterable[int], until: float) -> Late:
    """Follow the flow from a random start a seed up to time `until`, and read its end."""
    paths = tuple(flow(problem, seed=seed, until=until, points=101) for seed in seeds)
    last, half = -1, len(paths[0].t) // 2
    kept = slice(int(LATE * len(paths[0].t)), None)
    clock = np.log(paths[0].t[kept])
    squares = [path.weight_norm**2 + path.feature_norm**2 for path in paths]
    # Rounding may lift a start that is at the margin above it.
    gaps = [np.maximum(1 - shares(path), 1e-16) for path in paths]
    aligned = aligned_loss(problem, until)
    readings = {name: [getattr(path, name) for path in paths] for name in FALLING}
    powers = {
        name: [slope(np.log(clock), np.log(values[kept])) for values in each]
        for name, each in {**readings, "gap": gaps}.items()
    }
    return Late(
        paths=paths,
        share=[float(1 - gap[last]) for gap in gaps],
        growth=[float(square[last] / square[half]) for square in squares],
        loss=[float(path.loss[last] / aligned) for path in paths],
        powers=powers,
        constants={
            "(1 - share) log t": [float(gap[last] * clock[last]) for gap in gaps],
            "NC1 log t": [float(path.nc1_log_t[last]) for path in paths],
        },
        stationarity=[float(path.kkt_stationarity[last]) for path in paths],
    )


def aligned_loss(problem: ULPM, t: float) -> float:
    """Loss at time t of the flow that is a simplex all along: log(1 + (K - 1) e^-a)."""
    K, n = problem.num_classes, problem.counts[0]
    margin = float(aligned_margin(t, num_classes=K, per_class=n))
    return float(np.log1p((K - 1) * np.exp(-margin)))


def integration_error(problem: ULPM, seed: int, until: float) -> float:
    """Largest change of a normalised margin's share when steps are a hundred times less exact."""
    exact, loose = (
        shares(flow(problem, seed=seed, until=until, points=101, tolerance=tolerance))
        for tolerance in (1e-11, LOOSE)
    )
    return float(np.abs(exact - loose).max())
