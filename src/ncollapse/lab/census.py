"""A census of critical points of free features: found from many starts, each told what it is.

Descent ends at minimisers only, so most starts go down the norm of the gradient instead, which is
zero at saddles too: Levenberg-Marquardt on ∇f = 0, all starts of a problem at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.lab.free import LOSSES
from ncollapse.lab.study import Plan
from ncollapse.theory.problems import UFM
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.solvers.descent import descend
from ncollapse.theory.subjects.census import CRITICAL, DESCENDS, settle, starts
from ncollapse.theory.subjects.landscape import landscape

GLOBAL, SADDLE, OTHER, LOST = "global", "strict saddle", "other", "not critical"
NAMES = {"global optimum": GLOBAL, "strict saddle": SADDLE, "not critical": LOST}


@dataclass(frozen=True)
class Found:
    """What one start led to.

    kind: "global" (certified by a lower bound, or by ‖G‖₂ ≤ √(λ_W λ_H) for a convex loss), "strict
    saddle" (a direction of negative curvature), "other" (critical and neither), "not critical" (the
    search ended elsewhere). rank: of W. objective: f there. gradient: its largest entry. curvature,
    formula: along the escape direction, by the Hessian and by -2(‖G‖₂ - √(λ_W λ_H)), in units of
    √(λ_W λ_H); None unless a saddle with a free direction.
    """

    kind: str
    rank: int
    objective: float
    gradient: float
    curvature: float | None = None
    formula: float | None = None


def census(
    problem: UFM, count: int, scales: Sequence[float], *, seed: int, steps: int = 150
) -> list[Found]:
    """`count` starts, one in four by descent, and what each of them led to."""
    objective = Objective(problem)
    flats = starts(objective, count, scales, seed)
    for number in range(0, count, DESCENDS):
        run = descend(problem, start=objective.unpack(flats[number]), max_iterations=20_000)
        flats[number] = objective.pack(run.extra["point"])
    return [classify(problem, objective, flat) for flat in settle(objective, flats, steps)]


def classify(problem: UFM, objective: Objective, flat: Float[Tensor, " variables"]) -> Found:
    """What kind of point it is."""
    point = objective.unpack(flat)
    found = landscape(point, problem, tolerance=CRITICAL)
    unit = math.sqrt(problem.weight_decay * problem.feature_decay)
    curvature, formula = found.measured_curvature, found.curvature
    return Found(
        kind=NAMES.get(found.kind, OTHER),
        # A W that vanishes has rank 0.
        rank=int((torch.linalg.svdvals(point.weight) > 1e-5).sum()),
        objective=found.objective,
        gradient=found.gradient_norm,
        curvature=None if formula is None or curvature is None else curvature / unit,
        formula=None if formula is None else formula / unit,
    )


def tally(rows: Sequence[Found]) -> dict[str, Any]:
    """How many of each kind, and the ranks of the saddles among them."""
    kinds = [row.kind for row in rows]
    counts = {kind: kinds.count(kind) for kind in (GLOBAL, SADDLE, OTHER, LOST)}
    return {**counts, "ranks": sorted({row.rank for row in rows if row.kind == SADDLE})}


def survey(plan: Plan, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The census of every problem of `counts` × `losses` × no bias or a free one, at width K + 1:
    a row for every critical point found, and the tally of each problem."""
    rows, tallies = [], []
    for counts, name, bias in product(plan["counts"], plan["losses"], ("none", "free")):
        problem = UFM(
            tuple(counts),
            weight_decay=plan["weight_decay"],
            feature_decay=plan["feature_decay"],
            loss=LOSSES[name],
            bias=bias,
            num_features=len(counts) + 1,
        )
        found = census(problem, plan["starts"], plan["scales"], seed=1000 * seed)
        said = {"counts": counts, "loss": name, "bias": bias}
        rows += [{**said, **asdict(one)} for one in found if one.kind != LOST]
        tallies.append({**said, **tally(found)})
    return rows, tallies


def verdicts(
    rows: Sequence[Mapping[str, Any]], tallies: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Of a survey. other: critical points that are neither global nor strict saddles. reach: share
    of problems with saddles of every rank below K - 1. curvature: largest difference to the
    formula, and strict: largest curvature, both in units of √(λ_W λ_H); nan without a saddle."""
    saddles = [row for row in rows if row["curvature"] is not None]
    reached = [set(range(len(row["counts"]) - 1)) <= set(row["ranks"]) for row in tallies]
    errors = [abs(row["curvature"] - row["formula"]) for row in saddles]
    return {
        "other": sum(row[OTHER] for row in tallies),
        "reach": sum(reached) / len(reached),
        "curvature": max(errors, default=math.nan),
        "strict": max((row["curvature"] for row in saddles), default=math.nan),
    }
