"""Where training can stop: global optima, strict saddles, and the way out of each saddle.

For a convex loss of Z = W Hᵀ + b, a critical point of the UFM is globally optimal iff
‖G‖₂ ≤ √(λ_W λ_H), G = ∇_Z of the mean loss, (K, N). Where ‖G‖₂ is larger and the width leaves a
free direction, the point is a strict saddle, with an explicit direction of descent.
Source: Zhu et al. 2021 (d > K); d = K follows from 1ᵀW = 0 (Shen and Gu 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.point import Point
from ncollapse.theory.problems.ufm import UFM
from ncollapse.theory.solution import Solution
from ncollapse.theory.solvers.descent import GAP, certificate_of, descend

KINDS = ("global optimum", "strict saddle", "not critical", "undecided")
# Singular values of W below this share of the largest (or of 1) leave a free direction.
FREE = 1e-7


@dataclass(frozen=True, eq=False)
class Landscape:
    """What kind of point it is, with the numbers that say so.

    kind: "global optimum" (critical, and ‖G‖₂ ≤ √(λ_W λ_H) for a convex loss or a dual gap within
    1e-8), "strict saddle" (critical, with a direction of negative curvature), "not critical", or
    "undecided" (critical, yet neither is shown: a local optimum of a narrow width, say).
    gradient_norm: largest entry of ∇f. loss_gradient_norm: ‖G‖₂. threshold: √(λ_W λ_H).
    curvature: of the escape direction by the formula; measured_curvature: by the Hessian (for a
    width without a free direction, its lowest eigenvalue); both None unless a saddle.
    direction: that direction. gap: objective minus a proven lower bound, None without one.
    """

    kind: str
    objective: float
    gradient_norm: float
    loss_gradient_norm: float
    threshold: float
    gap: float | None
    statement: str
    curvature: float | None = None
    measured_curvature: float | None = None
    direction: Point | None = None


def landscape(point: Point, problem: UFM, *, tolerance: float = 1e-7) -> Landscape:
    """Classify a point of the UFM.

    tolerance: largest entry of the gradient that counts as critical, and the relative slack in
    ‖G‖₂ ≤ √(λ_W λ_H). Raises ValueError for another problem, nonnegative features (there the
    criterion does not hold) and a point of the wrong shape.
    """
    objective, flat = _prepare(point, problem)
    _, gradient = objective.value_and_gradient(flat)
    size = float(gradient.abs().max())
    norm = float(torch.linalg.matrix_norm(objective.loss_gradient(point), 2))
    threshold = math.sqrt(problem.weight_decay * problem.feature_decay)
    value = objective.value(flat)
    bound = certificate_of(objective, point, size).lower_bound
    gap = None if bound is None else max(value - bound, 0.0)
    numbers: dict[str, Any] = {
        "objective": value,
        "gradient_norm": size,
        "loss_gradient_norm": norm,
        "threshold": threshold,
        "gap": gap,
    }
    if size > tolerance:
        statement = f"the gradient has an entry of {size:.1e}, above {tolerance:.0e}"
        return Landscape(kind="not critical", statement=statement, **numbers)
    closed = gap is not None and gap <= GAP * abs(value)
    if closed or (problem.logit_loss.convex and norm <= threshold * (1 + tolerance)):
        statement = f"critical, and ‖G‖₂ = {norm:.3e} does not exceed √(λ_W λ_H) = {threshold:.3e}"
        if norm > threshold * (1 + tolerance):
            statement = f"the dual lower bound lies within {gap:.1e} of the objective"
        return Landscape(kind="global optimum", statement=statement, **numbers)
    free = _free_direction(point)
    if norm > threshold and free is not None:
        direction = escape_direction(point, problem)
        curvature = -2 * (norm - threshold)
        step = objective.pack(direction)
        measured = float(step @ objective.hessian_product(flat, step))
        statement = f"critical, with a direction of curvature {curvature:.3e}"
        return Landscape(
            kind="strict saddle" if measured < 0 else "undecided",
            statement=statement,
            curvature=curvature,
            measured_curvature=measured,
            direction=direction,
            **numbers,
        )
    lowest, vector = _lowest_curvature(objective, flat)
    if lowest < -1e-9:
        statement = f"critical, and the Hessian has the eigenvalue {lowest:.3e}"
        return Landscape(
            kind="strict saddle",
            statement=statement,
            measured_curvature=lowest,
            direction=objective.split(vector),
            **numbers,
        )
    statement = (
        f"critical, without a direction of negative curvature at width {objective.width}, and not "
        "shown to be optimal; a larger width may open one"
    )
    return Landscape(kind="undecided", statement=statement, **numbers)


def escape_direction(point: Point, problem: UFM) -> Point:
    """The direction of descent at a critical point that is not optimal.

    With (u, v) the leading singular pair of G and a a unit vector that W and H both annihilate:
    ΔW = (λ_H/λ_W)^¼ u aᵀ, ΔH = -(λ_W/λ_H)^¼ v aᵀ in the layout (N, d), and no change of bias. Its
    second derivative is exactly -2 (‖G‖₂ - √(λ_W λ_H)). Raises ValueError where no such a exists
    (rank W = d: widen the point first) and as `landscape` does. Source: Zhu et al. 2021.
    """
    objective, _ = _prepare(point, problem)
    free = _free_direction(point)
    if free is None:
        width = point.weight.shape[1]
        raise ValueError(
            f"W has full column rank {width}, so no feature direction is free; append a zero "
            f"column with point.widened({width + 1}) and take a problem of that width"
        )
    left, _, right = torch.linalg.svd(objective.loss_gradient(point), full_matrices=False)
    ratio = (problem.feature_decay / problem.weight_decay) ** 0.25
    bias = None if point.bias is None else torch.zeros_like(point.bias)
    return Point(ratio * torch.outer(left[:, 0], free), -torch.outer(right[0], free) / ratio, bias)


def saddle(problem: UFM, rank: int, *, seed: int = 0, width: int | None = None) -> Point:
    """A critical point of rank at most `rank` that is not optimal, gradient ≤ 1e-8.

    The minimiser of the same problem at width r = rank, from a random start, with zero columns
    appended up to `width` (default the problem's or K): critical at width r means critical at every
    larger width, for any counts and any loss. Truncating the spectrum of the optimum would do for
    mean squared error only.

    rank: 0, …, K - 2. Raises ValueError for another rank, a width below K - 1 (there no direction
    need be free), a problem whose optimum is no higher than this rank (decay too strong), and as
    `landscape` does.
    """
    K = problem.num_classes
    width = problem.num_features or K if width is None else width
    if not 0 <= rank <= K - 2:
        raise ValueError(f"rank={rank}; saddles exist for ranks 0, …, K - 2 = {K - 2}")
    if width < K - 1:
        raise ValueError(f"width {width}; at least K - 1 = {K - 1} is needed")
    narrow = _at_width(problem, max(rank, 1))
    objective = Objective(narrow)
    if rank:
        found = descend(narrow, seed=seed, tolerance=1e-10)
        point: Point = found.extra["point"]
    else:
        # Only the bias is free at W = 0, H = 0: both gradients vanish there whatever it is.
        point = _only_bias(objective)
    flat = objective.pack(point)
    size = objective.stationarity(flat)
    if size > 1e-8:
        raise ValueError(
            f"no critical point of rank {rank} was reached (gradient {size:.1e}); try another seed"
        )
    point = point.widened(width)
    if landscape(point, _at_width(problem, width)).kind == "global optimum":
        raise ValueError(
            f"the optimum itself has rank ≤ {rank}: with λ_W λ_H = "
            f"{problem.weight_decay * problem.feature_decay:.2e} decay is too strong for a saddle "
            "of this rank"
        )
    return point


def perturbed_descent(
    point: Point,
    problem: UFM,
    *,
    seed: int = 0,
    radius: float = 1e-3,
    method: str = "accelerated",
    max_iterations: int = 50_000,
    tolerance: float = 1e-11,
) -> Solution:
    """Descend from a point after one random nudge, entries of standard deviation `radius`.

    As gradient descent escapes strict saddles: the nudge has a part along the escape direction and
    it grows. Parameters else as in `descend`. Raises ValueError for radius ≤ 0 and as `descend`.
    """
    if not radius > 0:
        raise ValueError(f"radius={radius}; a positive number is needed (a saddle holds its own)")
    objective = Objective(problem, point.weight.shape[1])
    nudged = objective.pack(point) + objective.start(seed, radius)
    return descend(
        problem,
        start=objective.unpack(nudged),
        method=method,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )


def _prepare(point: Point, problem: UFM) -> tuple[Objective, torch.Tensor]:
    if not isinstance(problem, UFM):
        raise ValueError(
            f"the landscape of {type(problem).__name__} is not classified; a UFM is needed"
        )
    if problem.nonnegative:
        raise ValueError(
            "nonnegative features change what critical means; this classification needs a UFM with "
            "nonnegative=False"
        )
    objective = Objective(problem, point.weight.shape[1])
    return objective, objective.pack(point)


def _free_direction(point: Point) -> torch.Tensor | None:
    """A unit vector that W and every feature annihilate, None where there is none."""
    both = torch.cat([point.weight, point.features])
    values, rows = torch.linalg.svd(both, full_matrices=True)[1:]
    width = point.weight.shape[1]
    smallest = float(values[-1]) if len(values) == width else 0.0
    return rows[-1] if smallest <= FREE * max(1.0, float(values[0])) else None


def _lowest_curvature(objective: Objective, flat: torch.Tensor) -> tuple[float, torch.Tensor]:
    from scipy.sparse.linalg import LinearOperator, eigsh

    def product(vector: Any) -> Any:
        direction = torch.from_numpy(np.ascontiguousarray(vector).reshape(-1))
        return objective.hessian_product(flat, direction).numpy()

    size = objective.size
    hessian = LinearOperator((size, size), matvec=product, dtype=np.float64)
    values, vectors = eigsh(hessian, k=1, which="SA", v0=objective.start(0, 1.0).numpy())
    return float(values[0]), torch.from_numpy(np.ascontiguousarray(vectors[:, 0]))


def _at_width(problem: UFM, width: int) -> UFM:
    from dataclasses import replace

    return replace(problem, num_features=width)


def _only_bias(objective: Objective) -> Point:
    """W = 0, H = 0 and the bias that is best there."""
    from scipy.optimize import minimize

    flat = torch.zeros(objective.size, dtype=torch.float64)
    if not objective.has_bias:
        return objective.unpack(flat)
    classes = objective.problem.num_classes

    def placed(bias: Any) -> torch.Tensor:
        moved = flat.clone()
        moved[-classes:] = torch.from_numpy(np.array(bias))
        return moved

    def both(bias: Any) -> tuple[float, Any]:
        value, gradient = objective.value_and_gradient(placed(bias))
        return value, gradient[-classes:].numpy()

    done = minimize(both, np.zeros(classes), jac=True, method="BFGS", options={"gtol": 1e-12})
    return objective.unpack(objective.polish(placed(done.x)))
