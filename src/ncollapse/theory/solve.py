"""solve: any problem → a solution by the solver that fits it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch

from ncollapse.losses import Focal
from ncollapse.theory.problems.problem import LPM, UFM, ULPM, FixedHead, Problem
from ncollapse.theory.solution import RANK_CUT, Certificate, Solution
from ncollapse.theory.solvers.burer_monteiro import factor
from ncollapse.theory.solvers.closed_form import closed_form
from ncollapse.theory.solvers.convex import Relaxed, minimize
from ncollapse.theory.solvers.fixed_head import solve_fixed_head
from ncollapse.theory.solvers.formulas import direction_without_decay, formula
from ncollapse.theory.solvers.peeled import solve_peeled
from ncollapse.theory.solvers.readout import (
    Found,
    direct_solution,
    gain_of,
    geometry,
    relaxation_of,
)
from ncollapse.theory.solvers.readout import solution_of as _solution

# Descents with H ≥ 0, fewer for many classes.
MOST_STARTS = 4
SOLVERS = ("auto", "closed form", "convex", "burer-monteiro", "descent")


def solve(
    problem: Problem,
    *,
    tolerance: float = 1e-8,
    solver: str = "auto",
    max_iterations: int = 5000,
    **options: Any,
) -> Solution:
    """Solve a problem of `ncollapse.theory.problems.problem`.

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
    if isinstance(problem, UFM):
        found = _unconstrained(problem, solver, tolerance, max_iterations, options)
    elif isinstance(problem, FixedHead):
        found = solve_fixed_head(problem, tolerance, max_iterations, solver)
    else:
        found = _kin(problem, solver, tolerance, max_iterations, options)
    return replace(found, seconds=time.perf_counter() - began)


def _unconstrained(
    problem: UFM, solver: str, tolerance: float, most: int, options: dict[str, Any]
) -> Solution:
    if solver in ("auto", "closed form"):
        exact = closed_form(problem)
        if exact is not None:
            return exact
        if solver == "closed form":
            raise _no_formula(problem)
    if problem.nonnegative or solver == "descent":
        if solver in ("convex", "burer-monteiro"):
            raise ValueError(
                f'solver "{solver}" does not know H ≥ 0; use "auto" or "descent", or '
                "nonnegative=False"
            )
        return _descended(problem, most, options)
    relaxed_problem = relaxation_of(problem)
    relaxed = minimize(relaxed_problem, tolerance=tolerance, max_iterations=most)
    values = relaxed_problem.matrix(relaxed.point).singular_values()
    rank = max(int((values > RANK_CUT * max(values[0], 1e-12)).sum()), 1)
    width = problem.num_features
    if solver == "burer-monteiro" or (width is not None and width < rank):
        if solver == "convex":
            raise ValueError(
                f"num_features={width} is below the rank {rank} of the convex optimum; use "
                f'solver="auto" or at least {rank} features'
            )
        return _factored(problem, relaxed, rank, tolerance, most)
    return _relaxed(problem, relaxed, tolerance)


def _relaxed(problem: UFM, relaxed: Relaxed, tolerance: float) -> Solution:
    """The convex solver's end, as a solution of the problem with its own loss."""
    relaxed_problem = relaxation_of(problem)
    objective = relaxed_problem.exact_objective(relaxed.point)
    status, advice = _judged(
        objective, relaxed.lower_bound, tolerance, relaxed.converged, problem.loss
    )
    found = Found(
        problem=relaxed_problem,
        point=relaxed.point,
        objective=objective,
        certificate=Certificate(
            min(relaxed.lower_bound, objective),
            "dual",
            _statement(problem),
            _stationarity(relaxed),
        ),
        status=status,
        solver="convex",
        advice=advice,
        iterations=relaxed.iterations,
    )
    return _solution(problem, found, gain_of(problem))


def _judged(
    objective: float, bound: float, tolerance: float, converged: bool, loss: object
) -> tuple[str, str]:
    gap = objective - bound
    if gap <= tolerance * max(1.0, abs(objective)):
        return "optimal", ""
    if not converged:
        return "not converged", (
            f"the gap is still {gap:.1e}; raise max_iterations or the tolerance, which is "
            f"{tolerance:.0e}"
        )
    if isinstance(loss, Focal):
        return "not certified", (
            f"some class ends where the focal loss (γ = {loss.gamma:g}) is not convex, and a gap "
            f'of {gap:.1e} stays open; compare with several seeds of solver="descent", or '
            "lower the decays"
        )
    return "not certified", f"a gap of {gap:.1e} stays open"


def _statement(problem: UFM) -> str:
    found = (
        "A scaled dual point of the convex form bounds the objective from below for every width "
        "and every choice of W, H and b"
    )
    if isinstance(problem.loss, Focal):
        found += "; the focal loss enters by its convex envelope"
    return found + "."


def _stationarity(relaxed: Relaxed) -> float:
    """How far ‖∇F‖₂ is above what an optimum allows, relative to it."""
    return max(relaxed.bound.norm_ratio - 1.0, 0.0)


def _factored(problem: UFM, relaxed: Relaxed, rank: int, tolerance: float, most: int) -> Solution:
    width = problem.num_features or rank
    grouped = relaxation_of(problem)
    matrix = grouped.matrix(relaxed.point)
    single = relaxation_of(problem, merge=False)
    bias = relaxed.point.bias
    per_class = None if bias is None else bias[grouped.groups.index]
    found = factor(single, width, start=matrix, bias=per_class, max_iterations=most)
    gap = found.objective - relaxed.lower_bound
    if gap <= tolerance * max(1.0, abs(found.objective)):
        status, advice = "optimal", ""
    else:
        settled = found.stationarity <= 1e-6
        status = "not certified" if settled else "not converged"
        advice = (
            f"the best of {found.starts} starts at width {width}, {gap:.1e} above the bound for "
            f"any width; num_features={rank} loses nothing"
        )
        if not settled:
            advice += f"; its gradient is still {found.stationarity:.1e}: raise max_iterations"
    gain = gain_of(problem)
    # Balanced factors: L of the convex form is W / c.
    made = geometry(
        problem,
        means=found.right / (gain * single.root[:, None]),
        weight=gain * found.left,
        bias=found.point.bias,
        width=width,
    )
    return direct_solution(
        problem,
        made=made,
        status=status,
        objective=found.objective,
        certificate=Certificate(
            min(relaxed.lower_bound, found.objective),
            "dual",
            _statement(problem),
            found.stationarity,
        ),
        solver="burer-monteiro",
        advice=advice,
        iterations=found.iterations,
        extra={"required_width": rank},
    )


def _kin(
    problem: Problem, solver: str, tolerance: float, most: int, options: dict[str, Any]
) -> Solution:
    """Problems other than UFM."""
    if solver in ("auto", "closed form"):
        exact = formula(problem)
        if exact is not None:
            return exact
        if solver == "closed form":
            raise _no_formula(problem)
    if isinstance(problem, LPM) and solver in ("auto", "convex"):
        peeled = solve_peeled(problem, tolerance, most)
        if problem.num_features is None or problem.num_features >= max(peeled.rank, 1):
            return peeled
        if solver == "convex":
            raise ValueError(
                f"num_features={problem.num_features} is below the rank {peeled.rank} of the "
                f'convex optimum; use solver="auto" or at least {peeled.rank} features'
            )
        return _with_bound(_descended(problem, most, options), peeled)
    if solver in ("convex", "burer-monteiro"):
        raise ValueError(
            f'solver "{solver}" does not apply to {type(problem).__name__}; use "auto"'
        )
    return _descended(problem, most, options)


def _with_bound(found: Solution, wide: Solution) -> Solution:
    """A narrow solution with the lower bound of the wide one."""
    certificate = replace(wide.certificate, stationarity=found.certificate.stationarity)
    return replace(
        found,
        certificate=certificate,
        advice=f"num_features={wide.rank} loses nothing; {found.advice}".rstrip("; "),
    )


def _descended(problem: Problem, most: int, options: dict[str, Any]) -> Solution:
    if isinstance(problem, ULPM):
        return _flowed(problem, options)
    from ncollapse.theory.problems.objective import collapses
    from ncollapse.theory.solvers.descent import descend

    options = {"per_class": collapses(problem), **options}
    starts = 1
    if isinstance(problem, UFM) and problem.nonnegative and not {"seed", "start"} & set(options):
        # With H ≥ 0 some starts lose a class for good.
        starts = max(1, min(MOST_STARTS, 256 // problem.num_classes))
    runs = [
        descend(problem, max_iterations=most, **{"seed": seed, **options}) for seed in range(starts)
    ]
    best = min(runs, key=lambda found: found.objective)
    if starts > 1 and best.status != "optimal":
        best = replace(best, advice=f"the best of {starts} starts: {best.advice}")
    return best


def _flowed(problem: ULPM, options: dict[str, Any]) -> Solution:
    """Where gradient flow points, scaled to a smallest margin of 1."""
    from ncollapse.theory.solvers.flow import flow

    made = flow(problem, **options).geometry
    assert made.weight is not None and made.means is not None
    logits = made.weight @ made.means.T
    rivals = logits.clone().fill_diagonal_(-torch.inf)
    margin = float((logits.diagonal() - rivals.max(0).values).min())
    wide = direction_without_decay(replace(problem, num_features=None))
    assert wide is not None
    bound = Certificate(
        wide.objective, "dual", "The least norm with margins of at least 1 at unlimited width."
    )
    if margin <= 0:
        return direct_solution(
            problem,
            made=made,
            status="not converged",
            objective=float("inf"),
            certificate=bound,
            solver="flow",
            advice="the classes are not separated yet; raise `until`, or the width",
        )
    shrink = margin**-0.5
    counts = torch.tensor(problem.counts, dtype=torch.float64)
    energy = (made.weight**2).sum() + (counts[:, None] * made.means**2).sum()
    return direct_solution(
        problem,
        made=replace(made, weight=shrink * made.weight, means=shrink * made.means),
        status="not certified",
        objective=0.5 * float(energy) / margin,
        certificate=bound,
        solver="flow",
        advice="the direction moves like 1/log t; a later `until` comes closer to its limit",
    )


def _no_formula(problem: Problem) -> ValueError:
    return ValueError(
        f"no closed form is known for this {type(problem).__name__} (counts "
        f'{list(problem.counts[:6])}{"…" if problem.num_classes > 6 else ""}); use solver="auto"'
    )
