"""From a minimiser of the convex problem to a geometry and a solution.

With A = U Σ Vᵀ and √ρ on the columns: W = c U √Σ and class means H̄ = V √Σ / (c √ρ). Weight decay
fixes c⁴ = N λ_H/λ_W, so that W Wᵀ = √(N λ_H/λ_W) U Σ Uᵀ and λ_W ‖W‖² = λ_H ‖H‖².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ncollapse.geometry import Geometry
from ncollapse.theory.problems.problem import Problem
from ncollapse.theory.problems.ufm import UFM
from ncollapse.theory.proof import Certificate
from ncollapse.theory.solution import RANK_CUT, Solution
from ncollapse.theory.solvers.blocks import BlockMatrix
from ncollapse.theory.solvers.relaxation import Point, Relaxation

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Found:
    """What solvers hand over: a point of a relaxation with its values and words.

    objective: of the loss itself. lower_bound: None if unknown. kept: how many singular values of
    A the width allows (None: all of them).
    """

    problem: Relaxation
    point: Point
    objective: float
    certificate: Certificate
    status: str
    solver: str
    advice: str = ""
    kept: int | None = None
    iterations: int = 0


def solution_of(problem: Problem, found: Found, gain: float) -> Solution:
    """The solution of an unconstrained-feature problem from a point of its relaxation."""
    relaxed = found.problem
    groups = relaxed.groups
    matrix = relaxed.matrix(found.point)
    share = np.sqrt(groups.counts / groups.num_samples) / relaxed.root
    weighted = BlockMatrix(groups, matrix.spread * share, matrix.core * share)
    spectrum = weighted.singular_values()
    if found.kept is not None:
        spectrum = np.where(np.arange(len(spectrum)) < found.kept, spectrum, 0.0)
    spreads: tuple[float | None, ...] = ()
    if found.kept is None:
        inside = [
            float(value) if several else None
            for value, several in zip(weighted.spread, groups.several, strict=True)
        ]
        spreads = tuple(inside[group] for group in groups.index)
    bias = None if found.point.bias is None else found.point.bias[groups.index]
    root = relaxed.root[groups.index]
    return Solution(
        problem=problem,
        status=found.status,
        objective=found.objective,
        certificate=found.certificate,
        spectrum=spectrum,
        build=lambda: read_out(problem, matrix, root, gain, bias, found.kept),
        solver=found.solver,
        advice=found.advice,
        spreads=spreads,
        iterations=found.iterations,
    )


def read_out(
    problem: Problem,
    matrix: BlockMatrix,
    root: Float[Array, " classes"],
    gain: float,
    bias: Float[Array, " classes"] | None,
    kept: int | None = None,
) -> Geometry:
    """Geometry of A = matrix: width as the problem says, else the smallest that loses nothing,
    never below K - 1."""
    U, values, V = matrix.factors()
    if kept is not None:
        values = np.where(np.arange(len(values)) < kept, values, 0.0)
    largest = float(values[0]) if len(values) else 0.0
    rank = int((values > RANK_CUT * largest).sum()) if largest > 1e-12 else 0
    width = problem.num_features or max(rank, problem.num_classes - 1)
    used = min(width, len(values))
    half = np.sqrt(values[:used])
    return geometry(
        problem,
        means=V[:, :used] * half / (gain * root[:, None]),
        weight=gain * U[:, :used] * half,
        bias=bias,
        width=width,
    )


def geometry(
    problem: Problem,
    means: Float[Array, "classes used"],
    weight: Float[Array, "classes used"],
    bias: Float[Array, " classes"] | None = None,
    width: int | None = None,
) -> Geometry:
    """Geometry of numpy arrays, padded with zero features up to a width."""
    missing = (width or problem.num_features or means.shape[1]) - means.shape[1]
    if missing > 0:
        means = np.pad(means, ((0, 0), (0, missing)))
        weight = np.pad(weight, ((0, 0), (0, missing)))
    return Geometry(
        means=torch.from_numpy(np.ascontiguousarray(means)),
        weight=torch.from_numpy(np.ascontiguousarray(weight)),
        bias=None if bias is None else torch.from_numpy(np.ascontiguousarray(bias)),
        counts=torch.tensor(problem.counts),
    )


def relaxation_of(problem: UFM, *, merge: bool = True) -> Relaxation:
    """(P) of an unconstrained-feature problem."""
    return Relaxation(
        problem.counts, problem.logit_loss, problem.tau, problem.bias_decay, merge=merge
    )


def gain_of(problem: UFM) -> float:
    """c = (N λ_H/λ_W)^¼: ‖W‖ = c |A|_*^½."""
    ratio = problem.num_samples * problem.feature_decay / problem.weight_decay
    return float(ratio**0.25)


def direct_solution(problem: Problem, **fields: Any) -> Solution:
    """A solution whose geometry is given outright: its spectrum is read off the geometry."""
    made: Geometry = fields.pop("made")
    assert made.weight is not None and made.means is not None
    share = torch.tensor(problem.counts, dtype=torch.float64) / problem.num_samples
    spectrum = torch.linalg.svdvals(made.weight @ made.means.T * share.sqrt())
    return Solution(problem=problem, spectrum=spectrum.numpy(), build=lambda: made, **fields)
