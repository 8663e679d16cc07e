"""Certified prediction in process, on one thread, beside a general conic solver."""

from __future__ import annotations

import statistics

import numpy as np
import torch

from benchmarks.common import Options, Row, wall
from ncollapse.theory.problems import UFM
from ncollapse.theory.solution import Solution
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.convex import one_thread
from ncollapse.theory.subjects.prescription import Prescription, prescribe


def long_tail(num_classes: int, largest: int, ratio: float) -> tuple[int, ...]:
    """Counts that fall geometrically from the largest to largest/ratio."""
    powers = np.arange(num_classes) / (num_classes - 1)
    return tuple(int(n) for n in np.round(largest * ratio**-powers))


# Name, counts, relative gap, bar in seconds, repeats.
WORK = [
    ("K=10, 10 counts", long_tail(10, 5000, 100), 1e-8, 0.05, 9),
    ("K=100, 85 counts", long_tail(100, 500, 100), 1e-8, 1.0, 5),
    ("K=1000, 2 groups", (1000,) * 500 + (10,) * 500, 1e-8, 0.05, 9),
    ("K=1000, 529 counts", long_tail(1000, 1280, 256), 1e-6, 30.0, 1),
]
DECAYS = {"weight_decay": 5e-4, "feature_decay": 1e-5}
# At the other decays all 1000 classes in two groups collapse to zero.
GENTLE = {"weight_decay": 5e-5, "feature_decay": 1e-6}
# N² λ_W λ_H of the prescription.
PRESSING = 90.0
# How much faster than the conic solver at K = 60.
FACTOR = 10.0


def timed(problem: UFM, tolerance: float, repeats: int) -> tuple[float, Solution]:
    """Median seconds of `solve`, and the last solution."""
    found: list[Solution] = []

    def once() -> None:
        found.append(solve(problem, tolerance=tolerance))

    if repeats > 1:
        once()
    seconds = statistics.median(wall(once) for _ in range(repeats))
    return seconds, found[-1]


def run(options: Options) -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with one_thread():
            return _rows()
    finally:
        torch.set_num_threads(threads)


def _rows() -> list[Row]:
    rows = []
    for name, counts, gap, bar, repeats in WORK:
        decays = GENTLE if "2 groups" in name else DECAYS
        seconds, found = timed(UFM(counts, bias="free", **decays), gap, repeats)
        assert found.relative_gap is not None
        rows.append(Row("prediction", f"{name}: seconds", seconds, "s", bar))
        rows.append(Row("prediction", f"{name}: relative gap", found.relative_gap, "", gap))
    return rows + _prescribed() + _conic()


def _prescribed() -> list[Row]:
    """The least weights for a long tail of which half would merge, with the certified optimum."""
    counts = long_tail(1000, 1280, 256)
    decay = PRESSING**0.5 / sum(counts)
    found: list[Prescription] = []
    seconds = wall(lambda: found.append(prescribe(counts, weight_decay=decay, feature_decay=decay)))
    gap = found[0].prediction.relative_gap
    assert gap is not None and found[0].holds
    return [
        Row("prediction", "prescription, K=1000, 529 counts: seconds", seconds, "s", 10.0),
        Row("prediction", "prescription, K=1000, 529 counts: relative gap", gap, "", 1e-8),
    ]


def _conic() -> list[Row]:
    try:
        import cvxpy  # noqa: F401
    except ImportError:
        return []
    rows = []
    for num_classes in (30, 60):
        problem = UFM(long_tail(num_classes, 500, 100), bias="free", **DECAYS)
        ours, found = timed(problem, 1e-8, 3)
        value, theirs = _by_cone(problem)
        label = f"K={num_classes}"
        rows.append(Row("prediction", f"{label}: ours", ours, "s"))
        rows.append(Row("prediction", f"{label}: cvxpy/SCS", theirs, "s"))
        error = abs(value - found.objective)
        rows.append(Row("prediction", f"{label}: cvxpy/SCS value error", error, ""))
        bar = 1 / FACTOR if num_classes == 60 else None
        rows.append(Row("prediction", f"{label}: ours / cvxpy", ours / theirs, "×", bar))
    return rows


def _by_cone(problem: UFM) -> tuple[float, float]:
    """Value and seconds of the convex form written for cvxpy and solved by SCS."""
    import cvxpy as cp

    K = problem.num_classes
    share = np.array(problem.counts) / problem.num_samples
    A, b = cp.Variable((K, K)), cp.Variable(K)
    Z = A @ np.diag(1 / np.sqrt(share)) + cp.reshape(b, (K, 1), order="F") @ np.ones((1, K))
    loss = sum(share[k] * (cp.log_sum_exp(Z[:, k]) - Z[k, k]) for k in range(K))
    conic = cp.Problem(cp.Minimize(loss + problem.tau * cp.normNuc(A)))
    seconds = wall(lambda: conic.solve(solver=cp.SCS, eps=1e-7))
    return float(conic.value), seconds
