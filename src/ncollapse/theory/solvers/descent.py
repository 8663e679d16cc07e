"""Training (W, H, b) from a random start: sample by sample the brute-force check of every solver,
and with one feature a class, where that loses nothing, a solver itself.

Nothing here knows the answer's shape. Three first-order methods:

- "lbfgs": L-BFGS-B, then, where f is smooth, Newton steps to machine precision; fast, and meant for
  checking numbers.
- "accelerated": Nesterov's gradient method with backtracking and restart.
- "gradient": plain gradient descent with a backtracking line search, as in "gradient descent from a
  random start finds the optimum". The slowest of the three.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.point import Point, within_class_share
from ncollapse.theory.problems.problem import Ask, Problem
from ncollapse.theory.proof import Certificate, relative_gap
from ncollapse.theory.solution import Solution

METHODS = ("lbfgs", "accelerated", "gradient")
# Descents with H ≥ 0, fewer for many classes.
MOST_STARTS = 4
# An UFM point is called optimal when its relative gap is at most this.
GAP = 1e-8
# Below this share of f a difference of two values is rounding.
NOISE = 1e-12


def descend(
    problem: Problem,
    *,
    seed: int = 0,
    width: int | None = None,
    max_iterations: int = 20_000,
    tolerance: float = 1e-11,
    start: Point | None = None,
    method: str = "lbfgs",
    scale: float = 0.3,
    per_class: bool = False,
) -> Solution:
    """Minimise the sample-level objective by a first-order method.

    seed, scale: the random start, normal entries of standard deviation `scale`; or `start`, a
    point. width: d, default the problem's or K. tolerance: largest entry of the gradient at which
    to stop. method: "lbfgs", "accelerated" or "gradient". per_class: one feature a class in the
    place of n_k equal ones, so that the cost does not grow with N (where the problem
    `collapses` the optimum is the same); `start` and the point found then have K features.

    The solution is "optimal" where a lower bound closes the gap to 1e-8 (UFM, any loss with a
    bound), "not converged" where the gradient stays above the tolerance, else "not certified".
    extra: nc1 (tr Σ_W / tr Σ_B, None when all means agree), point, method, stationarity.
    Raises ValueError for ULPM, which has no minimiser (see `flow`), an unknown method, a start of
    the wrong shape, per_class for a problem where it may lose something, a scale, tolerance or
    number of iterations that is not positive.
    """
    if not problem.attained:
        raise ValueError(
            f"{type(problem).__name__} has no finite minimiser to descend to; follow it with "
            "ncollapse.theory.solvers.flow.flow"
        )
    if method not in METHODS:
        raise ValueError(f"method {method!r}; one of {', '.join(METHODS)} is needed")
    if per_class and not problem.collapses:
        raise ValueError(
            f"per_class=True for {type(problem).__name__} with {problem.loss.name}: one feature a "
            "class is not known to be optimal there; leave it out"
        )
    for name, value in (
        ("scale", scale),
        ("tolerance", tolerance),
        ("max_iterations", max_iterations),
    ):
        if not value > 0:
            raise ValueError(f"{name}={value}; a positive number is needed")
    if start is not None and width is None and problem.num_features is None:
        width = start.weight.shape[1]
    began = time.perf_counter()
    objective = Objective(problem, width, per_class=per_class)
    flat = objective.start(seed, scale) if start is None else objective.pack(start)
    minimise = _lbfgs if method == "lbfgs" else _first_order
    flat, iterations = minimise(objective, flat, max_iterations, tolerance, method == "accelerated")
    return conclude(
        objective, flat, tolerance, f"descent ({method})", iterations, time.perf_counter() - began
    )


def trained(problem: Problem, ask: Ask) -> Solution:
    """The lowest of a few descents, on one feature a class where that loses nothing."""
    options = {"per_class": problem.collapses, **ask.options}
    starts = 1
    if problem.nonnegative and not {"seed", "start"} & set(options):
        # With H ≥ 0 some starts lose a class for good.
        starts = max(1, min(MOST_STARTS, 256 // problem.num_classes))
    runs = [
        descend(problem, max_iterations=ask.max_iterations, **{"seed": seed, **options})
        for seed in range(starts)
    ]
    best = min(runs, key=lambda found: found.objective)
    if starts > 1 and best.status != "optimal":
        best = replace(best, advice=f"the best of {starts} starts: {best.advice}")
    return best


def conclude(
    objective: Objective,
    flat: Tensor,
    tolerance: float,
    solver: str,
    iterations: int = 0,
    seconds: float = 0.0,
) -> Solution:
    """The solution that a flat vector stands for, with what can be proven of it."""
    problem = objective.problem
    point = objective.unpack(flat)
    value = objective.value(flat)
    stationarity = objective.stationarity(flat)
    certificate = certificate_of(objective, point, stationarity)
    bound = certificate.lower_bound
    gap = None if bound is None else relative_gap(max(value - bound, 0.0), value)
    if gap is not None and gap <= GAP:
        status, advice = "optimal", ""
    elif stationarity > tolerance:
        status = "not converged"
        advice = (
            f"the gradient still has an entry of {stationarity:.1e}; allow more iterations, or use "
            'method="lbfgs"'
        )
    else:
        status = "not certified"
        advice = (
            "a stationary point, not proven to be the lowest; compare several seeds of "
            "ncollapse.theory.solvers.descent.descend"
        )
        if gap is not None:
            advice = f"a relative gap of {gap:.1e} is open: try a smaller tolerance, else " + advice
    counts = torch.tensor(problem.counts, dtype=torch.int64)
    geometry = replace(point.geometry(objective.rows), counts=counts)
    assert geometry.weight is not None and geometry.means is not None
    share = torch.tensor(problem.counts, dtype=torch.float64) / problem.num_samples
    spectrum = torch.linalg.svdvals(geometry.weight @ geometry.means.T * share.sqrt())
    return Solution(
        problem=problem,
        status=status,
        objective=value,
        certificate=certificate,
        spectrum=spectrum.numpy(),
        build=lambda: geometry,
        solver=solver,
        advice=advice,
        iterations=iterations,
        seconds=seconds,
        extra={"nc1": within_class_share(point.entering, objective.rows), "point": point},
    )


def certificate_of(objective: Objective, point: Point, stationarity: float) -> Certificate:
    """What the problem can prove of a point alone."""
    found = objective.problem.certify(point, objective.labels, objective.copies)
    return replace(found, stationarity=stationarity)


def _lbfgs(
    objective: Objective, flat: Tensor, max_iterations: int, tolerance: float, accelerated: bool
) -> tuple[Tensor, int]:
    from scipy.optimize import minimize

    def both(x: Any, unit: float) -> tuple[float, Any]:
        value, gradient = objective.value_and_gradient(torch.from_numpy(np.array(x)))
        return value / unit, gradient.numpy() / unit

    bounds = None
    if objective.nonnegative:
        bounds = [(0.0, None) if held else (None, None) for held in objective.bounded.tolist()]
    iterations, value = 0, np.inf
    # Restarts drop a memory gone stale near the optimum; one that gains nothing is the last.
    for _ in range(6):
        # L-BFGS takes f for at least 1 where it compares values: a smaller one is its own unit.
        unit = min(max(abs(objective.value(flat)), 1e-300), 1.0)
        options = {
            "maxiter": max_iterations - iterations,
            "maxfun": 2 * max_iterations,
            "ftol": 1e-16,
            "gtol": tolerance / 10,
            "maxcor": 30,
        }
        done = minimize(
            both, flat.numpy(), (unit,), "L-BFGS-B", jac=True, bounds=bounds, options=options
        )
        flat = torch.from_numpy(np.array(done.x))
        iterations += int(done.nit)
        gained, value = value - unit * float(done.fun), unit * float(done.fun)
        if iterations >= max_iterations or gained <= 1e-15 * abs(value):
            break
    if not objective.problem.smooth:
        return flat, iterations
    goal = min(tolerance, 1e-12) * min(abs(value), 1.0)
    return objective.polish(flat, goal=goal), iterations


def _first_order(
    objective: Objective, flat: Tensor, max_iterations: int, tolerance: float, accelerated: bool
) -> tuple[Tensor, int]:
    """Gradient steps with backtracking; with momentum and restart if accelerated."""
    bounded = objective.bounded

    def project(x: Tensor) -> Tensor:
        return torch.where(bounded, x.clamp_min(0), x)

    x, momentum, curvature = flat, 1.0, 1.0
    ahead = x
    for iteration in range(max_iterations):
        value, gradient = objective.value_and_gradient(ahead)
        if objective.stationarity(ahead, gradient) <= tolerance:
            return ahead, iteration
        while True:
            moved = project(ahead - gradient / curvature)
            step = moved - ahead
            length = float(step @ step)
            there, slope = objective.value_and_gradient(moved)
            promised = value + float(gradient @ step) + curvature / 2 * length
            if abs(there - value) > NOISE * abs(value):
                enough = there <= promised
            else:
                # Too close for values to tell: ask the gradients for the curvature along the step.
                enough = float((slope - gradient) @ step) <= curvature * length
            if enough or curvature > 1e12:
                break
            curvature *= 2
        if accelerated:
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            if float(gradient @ (moved - x)) > 0:
                momentum, following = 1.0, 1.0
            ahead = project(moved + (momentum - 1) / following * (moved - x))
            momentum = following
        else:
            ahead = moved
        x = moved
        curvature *= 0.9
    return x, max_iterations
