"""solve: any problem → a solution by the first of its solvers that has an answer."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ncollapse.theory.problems.problem import Ask, Problem
from ncollapse.theory.solution import Solution

SOLVERS = ("auto", "closed form", "convex", "burer-monteiro", "descent")


def solve(
    problem: Problem,
    *,
    tolerance: float = 1e-8,
    solver: str = "auto",
    max_iterations: int = 5000,
    **options: Any,
) -> Solution:
    """Solve a problem of `ncollapse.theory.problems`.

    tolerance: on the relative gap (`Solution.relative_gap`). solver: "auto" takes a closed form
    where one is exact, the certified convex solver where within-class collapse reduces the problem
    to it, factors of the given width where the width binds, and else descent from a random start
    (gradient flow for ULPM), on one feature a class where that loses nothing; "closed form",
    "convex", "burer-monteiro" and "descent" insist.
    max_iterations: proximal steps, or iterations of the descent. options: passed to descent or
    flow (seed, …).

    A solver that falls short returns its best point with a status, the gap it is sure of and
    advice. Raises ValueError for an unknown solver, a solver that does not apply to the problem
    and a tolerance that is not positive.
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver {solver!r} is unknown; one of {', '.join(SOLVERS)} is needed")
    if not tolerance > 0 or max_iterations < 1:
        raise ValueError(
            f"tolerance={tolerance}, max_iterations={max_iterations}; positive numbers are needed"
        )
    began = time.perf_counter()
    ask = Ask(tolerance, max_iterations, solver != "auto", options)
    for offered in problem.solvers:
        if solver in ("auto", offered.name):
            found = offered(problem, ask)
            if found is not None:
                return replace(found, seconds=time.perf_counter() - began)
    raise ValueError(problem.refusal(solver))
