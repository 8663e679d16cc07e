"""Deep ReLU features: the lowest of several candidates, with words on which of them won."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ncollapse.theory.problems.deep_relu import DeepReluUFM, ReluPoint
from ncollapse.theory.problems.point import within_class_share
from ncollapse.theory.problems.problem import Ask
from ncollapse.theory.proof import Certificate
from ncollapse.theory.solution import Solution
from ncollapse.theory.solvers.deep_linear import best_frame
from ncollapse.theory.solvers.deep_points import (
    dnc_point,
    ranks,
    srg_point,
    value_at,
    zero_point,
)
from ncollapse.theory.solvers.descent import descend

# Random starts unless `starts` is given; none above this many classes.
STARTS, MOST_CLASSES = 3, 32
# Steps of a descent; thousands more lower f by a few thousandths.
STEPS = 400
# A candidate has to be better by this share of f to win over an earlier one.
BETTER = 1e-9
COLLAPSE, ZERO = "deep neural collapse", "zero"
LOW_RANK, DESCENDED = "low-rank construction", "low-rank construction, descended"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A feasible point with its value, an upper bound on the minimum."""

    name: str
    point: ReluPoint
    objective: float


def two_equal_classes(problem: DeepReluUFM) -> Solution | None:
    """K = 2 with equal counts: deep neural collapse or zero, whichever is lower.

    f = min over u ≥ 0 of ½(1-u)² + (M+1) (n λ_H Πλ u²)^{1/(M+1)}. Source: Súkeník et al. 2023
    (theorem remembered, not read).
    """
    if problem.num_classes != 2 or not problem.balanced or not problem.roomy:
        return None
    point = dnc_point(problem)
    found = Candidate(COLLAPSE, point, best_frame(problem).objective)
    if float(point.weight.abs().max()) == 0:
        found = replace(found, name=ZERO)
    return _solution(
        problem,
        found,
        (found,),
        "closed form",
        "For two equal classes deep neural collapse, or zero above the threshold, is the global "
        "minimum as we remember Súkeník et al. 2023; the proof was not read, the value is that of "
        "this point.",
        "the value is that of a point; no lower bound is known",
    )


def best_known(problem: DeepReluUFM, ask: Ask) -> Solution:
    """The lowest of zero, deep neural collapse, the low-rank construction as it is and after a
    descent, and descents from random starts.

    Options: `starts`, how many random ones (three, none above 32 classes); `seed` of the first;
    `steps` of a descent at most (400, no more than `max_iterations`); `width` of their layers (the
    problem's, else 2K); others go to `descend`. A `start` point is descended from alone, with no
    other candidate.
    """
    options = {"per_class": True, **ask.options}
    starts = int(options.pop("starts", STARTS if problem.num_classes <= MOST_CLASSES else 0))
    seed = int(options.pop("seed", 0))
    steps = min(int(options.pop("steps", STEPS)), ask.max_iterations)
    width = options.pop("width", None) or problem.num_features

    def descended(name: str, **how: Any) -> Candidate:
        found = descend(problem, max_iterations=steps, **{"tolerance": 1e-8, **options, **how})
        return Candidate(name, ReluPoint.of(found.extra["point"]), found.objective)

    if "start" in options:
        candidates = [descended("the given start")]
    else:
        candidates = constructed(problem)
        if candidates[-1].name == LOW_RANK and candidates[-1].objective < 0.5:
            candidates.append(descended(DESCENDED, start=candidates[-1].point))
        for number in range(seed, seed + starts):
            wide = width or 2 * problem.num_classes
            candidates.append(descended(f"random start {number}", seed=number, width=wide))
    best = candidates[0]
    for candidate in candidates[1:]:
        if candidate.objective < best.objective - BETTER * abs(best.objective):
            best = candidate
    return _solution(
        problem,
        best,
        tuple(candidates),
        f"descent (won by {best.name})",
        "An upper bound: the best of several candidates, with no proof that nothing lies below it.",
        "an upper bound, the best of several candidates; more random starts may find a lower one "
        '(nc.theory.solve(problem, solver="descent", starts=…))',
    )


def constructed(problem: DeepReluUFM, width: int | None = None) -> list[Candidate]:
    """Zero, deep neural collapse and, where it exists, the low-rank construction."""
    width = width or problem.num_features or problem.num_classes
    points: list[tuple[str, ReluPoint | None]] = [
        (ZERO, zero_point(problem, width)),
        (COLLAPSE, dnc_point(problem, width)),
        (LOW_RANK, srg_point(problem, width)),
    ]
    return [
        Candidate(name, point, value_at(problem, point))
        for name, point in points
        if point is not None
    ]


def _solution(
    problem: DeepReluUFM,
    best: Candidate,
    candidates: tuple[Candidate, ...],
    solver: str,
    statement: str,
    advice: str,
) -> Solution:
    point = best.point
    geometry = replace(
        point.geometry((1,) * problem.num_classes), counts=torch.tensor(problem.counts)
    )
    share = torch.tensor(problem.counts, dtype=torch.float64) / problem.num_samples
    found = ranks(point)
    return Solution(
        problem=problem,
        status="not certified",
        objective=best.objective,
        certificate=Certificate(None, "none", statement),
        spectrum=torch.linalg.svdvals(point.logits.T * share.sqrt()).numpy(),
        build=lambda: geometry,
        solver=solver,
        advice=advice,
        extra={
            "point": point,
            "nc1": within_class_share(point.entering, (1,) * problem.num_classes),
            "candidates": {one.name: one.objective for one in candidates},
            "won": best.name,
            "ranks": found,
            "notes": _notes(problem, best, found),
        },
    )


def _notes(problem: DeepReluUFM, best: Candidate, found: list[tuple[int, int]]) -> list[str]:
    """Which candidate won, in words, where it is not deep neural collapse."""
    if best.name == ZERO:
        return ["nothing better than zero was found: decay is too strong at this depth"]
    collapse = best_frame(problem).objective
    lowest = min(min(pair) for pair in found)
    if best.objective < collapse * (1 - BETTER) and lowest < problem.num_classes - 1:
        shown = ", ".join(f"{before}" for before, _ in found)
        return [
            f"a solution of lower rank than the simplex is better: f = {best.objective:.5g} "
            f"({best.name}) against {collapse:.5g} of deep neural collapse; ranks before each ReLU "
            f"{shown}"
        ]
    return []
