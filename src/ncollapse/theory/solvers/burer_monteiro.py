"""Widths below the rank of the optimum: factors W (K, d), H̄ (K, d) optimised as they are.

A = L Rᵀ with ½‖L‖² + ½‖R‖² in the place of |A|_* (Burer & Monteiro 2003). Not convex for d < rank:
several starts by L-BFGS, the first from the truncated convex solution, and a lower bound from the
convex problem, whose gap stays open by what the narrow width costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize as scipy_minimize

from ncollapse.theory.solvers.blocks import BlockMatrix
from ncollapse.theory.solvers.convex import one_thread
from ncollapse.theory.solvers.relaxation import Point, Relaxation

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Factored:
    """The best point of several starts. stationarity: largest entry of its gradient."""

    left: Float[Array, "classes dim"]
    right: Float[Array, "classes dim"]
    point: Point
    objective: float
    stationarity: float
    iterations: int
    starts: int


def factor(
    problem: Relaxation,
    width: int,
    *,
    start: BlockMatrix | None = None,
    bias: Float[Array, " classes"] | None = None,
    seeds: int | None = None,
    tolerance: float = 1e-9,
    max_iterations: int = 5000,
) -> Factored:
    """Lowest of 1 + `seeds` local minima of rank at most `width`.

    problem: a relaxation with one class a group, else ValueError. start: a matrix whose leading
    singular vectors begin the first run. seeds: of random starts, None: as many as the size
    allows. Own generators: the same call gives the same numbers.
    """
    if (problem.groups.sizes > 1).any():
        raise ValueError("classes are merged into groups; a relaxation with merge=False is needed")
    K = problem.groups.num_classes
    used = min(width, K)
    if seeds is None:
        # Orders along a line and other combinatorial choices are what starts must get right.
        seeds = int(np.clip(6000 // (K * used), 1, 40))
    starts = []
    level = 1.0
    if start is not None:
        U, values, V = start.factors(used)
        level = max(float(values[0]), 1e-3)
        half = np.sqrt(values + 1e-3 * level)
        starts.append((U * half, V * half))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        size = np.sqrt(level / K)
        L = size * rng.standard_normal((K, used))
        starts.append((L, L * problem.root[:, None] / problem.root.max()))
    best: Factored | None = None
    total = 0
    with one_thread():
        for left, right in starts:
            found = _descend(problem, left, right, bias, tolerance, max_iterations)
            total += found.iterations
            if best is None or found.objective < best.objective:
                best = found
    assert best is not None
    return Factored(
        best.left,
        best.right,
        best.point,
        best.objective,
        best.stationarity,
        total,
        len(starts),
    )


def _descend(
    problem: Relaxation,
    left: Array,
    right: Array,
    bias: Array | None,
    tolerance: float,
    most: int,
) -> Factored:
    shape = left.shape
    size = left.size
    none = np.zeros(shape[0])
    with_bias = problem.bias_decay is not None
    offset = none if bias is None else bias

    def unpack(flat: Array) -> tuple[Array, Array, Point]:
        L, R = flat[:size].reshape(shape), flat[size : 2 * size].reshape(shape)
        return L, R, Point(none, L @ R.T, flat[2 * size :] if with_bias else None)

    def value(flat: Array) -> tuple[float, Array]:
        L, R, point = unpack(flat)
        slope = problem.slope(point)
        energy = 0.5 * problem.tau * (float(np.vdot(L, L)) + float(np.vdot(R, R)))
        parts = [slope.core @ R + problem.tau * L, slope.core.T @ L + problem.tau * R]
        flat_parts = [part.ravel() for part in parts]
        if slope.bias is not None:
            flat_parts.append(slope.bias)
        return slope.value + energy, np.concatenate(flat_parts)

    flat = np.concatenate([left.ravel(), right.ravel()] + ([offset] if with_bias else []))
    iterations, unit = 0, 1.0

    def in_units(flat: Array, unit: float) -> tuple[float, Array]:
        found, gradient = value(flat)
        return found / unit, gradient / unit

    # Restarted: a fresh memory gets past the rounding that stops the first run. L-BFGS takes f for
    # at least 1 where it compares values: a smaller one is its own unit.
    for _ in range(4):
        unit = float(np.clip(value(flat)[0], 1e-300, 1.0))
        result = scipy_minimize(
            in_units,
            flat,
            args=(unit,),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": most,
                "maxfun": 2 * most,
                "ftol": 1e-16,
                "gtol": 0.1 * tolerance,
                "maxcor": 20,
            },
        )
        flat = result.x
        iterations += int(result.nit)
        share = float(result.fun) if result.fun < 0.5 else 1.0
        if np.abs(result.jac).max() <= tolerance * share:
            break
    L, R, point = unpack(flat)
    found, gradient = value(flat)
    exact = float(problem.mass @ problem.form.exact(*problem.logits(point)))
    smooth = float(problem.mass @ problem.form.value(*problem.logits(point)))
    return Factored(
        L, R, point, found - smooth + exact, float(np.abs(gradient).max()), iterations, 1
    )
