"""Unconstrained features through their convex form: certified where the width suffices, factors of
the given width where it binds."""

from __future__ import annotations

from ncollapse.losses import LogitLoss
from ncollapse.theory.problems.problem import Ask
from ncollapse.theory.problems.ufm import UFM
from ncollapse.theory.proof import Certificate, relative_gap
from ncollapse.theory.solution import RANK_CUT, Solution
from ncollapse.theory.solvers.burer_monteiro import factor
from ncollapse.theory.solvers.convex import Relaxed, minimize
from ncollapse.theory.solvers.readout import (
    Found,
    direct_solution,
    gain_of,
    geometry,
    relaxation_of,
    solution_of,
)


def certified(problem: UFM, ask: Ask) -> Solution:
    """By the convex form, or at the width that binds by factors; insisted on, ValueError there."""
    relaxed, rank = _minimized(problem, ask)
    width = problem.num_features
    if width is None or width >= rank:
        return _relaxed(problem, relaxed, ask.tolerance)
    if ask.insisted:
        raise ValueError(narrower(width, rank))
    return _factored(problem, relaxed, rank, ask)


def narrow(problem: UFM, ask: Ask) -> Solution:
    """By factors of the problem's width, or of the optimum's rank."""
    return _factored(problem, *_minimized(problem, ask), ask)


def narrower(width: int, rank: int) -> str:
    """What to do where the convex form needs more features than there are."""
    return (
        f"num_features={width} is below the rank {rank} of the convex optimum; use "
        f'solver="auto" or at least {rank} features'
    )


def _minimized(problem: UFM, ask: Ask) -> tuple[Relaxed, int]:
    """The convex optimum and its rank, at least 1."""
    relaxation = relaxation_of(problem)
    relaxed = minimize(relaxation, tolerance=ask.tolerance, max_iterations=ask.max_iterations)
    values = relaxation.matrix(relaxed.point).singular_values()
    return relaxed, max(int((values > RANK_CUT * max(values[0], 1e-12)).sum()), 1)


def _relaxed(problem: UFM, relaxed: Relaxed, tolerance: float) -> Solution:
    """The convex solver's end, as a solution of the problem with its own loss."""
    relaxed_problem = relaxation_of(problem)
    objective = relaxed_problem.exact_objective(relaxed.point)
    status, advice = _judged(objective, relaxed, tolerance, problem.logit_loss)
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
    return solution_of(problem, found, gain_of(problem))


def _judged(
    objective: float, relaxed: Relaxed, tolerance: float, loss: LogitLoss
) -> tuple[str, str]:
    gap = relative_gap(objective - relaxed.lower_bound, objective)
    if gap <= tolerance:
        return "optimal", ""
    if relaxed.stalled:
        return "not certified", (
            f"a relative gap of {gap:.1e} stays open: at decays this small the rounding of float64 "
            f"hides the rest; raise the decays, or the tolerance above {gap:.0e}"
        )
    if not relaxed.converged:
        return "not converged", (
            f"the relative gap is still {gap:.1e}; raise max_iterations or the tolerance, which is "
            f"{tolerance:.0e}"
        )
    if not loss.convex:
        return "not certified", (
            f"some class ends where the {loss.name} is not convex, and a relative gap "
            f'of {gap:.1e} stays open; compare with several seeds of solver="descent", or '
            "lower the decays"
        )
    return "not certified", f"a relative gap of {gap:.1e} stays open"


def _statement(problem: UFM) -> str:
    found = (
        "A scaled dual point of the convex form bounds the objective from below for every width "
        "and every choice of W, H and b"
    )
    if not problem.logit_loss.convex:
        found += "; the focal loss enters by its convex envelope"
    return found + "."


def _stationarity(relaxed: Relaxed) -> float:
    """How far ‖∇F‖₂ is above what an optimum allows, relative to it."""
    return max(relaxed.bound.norm_ratio - 1.0, 0.0)


def _factored(problem: UFM, relaxed: Relaxed, rank: int, ask: Ask) -> Solution:
    width = problem.num_features or rank
    grouped = relaxation_of(problem)
    matrix = grouped.matrix(relaxed.point)
    single = relaxation_of(problem, merge=False)
    bias = relaxed.point.bias
    per_class = None if bias is None else bias[grouped.groups.index]
    found = factor(single, width, start=matrix, bias=per_class, max_iterations=ask.max_iterations)
    gap = found.objective - relaxed.lower_bound
    if relative_gap(gap, found.objective) <= ask.tolerance:
        status, advice = "optimal", ""
    else:
        settled = found.stationarity <= 1e-6 * min(1.0, found.objective)
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
