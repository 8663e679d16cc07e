"""Training without decay: no minimiser but a direction, by formula and where the flow points."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from ncollapse.theory.problems.problem import Ask
from ncollapse.theory.problems.ulpm import ULPM
from ncollapse.theory.proof import Certificate
from ncollapse.theory.solution import Solution
from ncollapse.theory.solvers.blocks import BlockMatrix, Groups
from ncollapse.theory.solvers.flow import flow
from ncollapse.theory.solvers.readout import direct_solution, read_out


def direction_without_decay(problem: ULPM) -> Solution | None:
    """Minimum of ½‖W‖² + ½‖H‖² with all margins ≥ 1, d ≥ K - 1: W H̄ᵀ = I - 11ᵀ/K for any counts.

    The value is |(I - 11ᵀ/K) diag(√n)|_*, √n (K - 1) for balanced classes. Gradient flow of the
    unconstrained loss grows without limit in the direction of some stationary point of this
    problem. Sources: Ji et al. 2022; Thrampoulidis et al. 2022.
    """
    K = problem.num_classes
    if problem.num_features is not None and problem.num_features < K - 1:
        return None
    groups = Groups.of(problem.counts)
    sizes, root = groups.sizes, np.sqrt(groups.counts)
    core = np.diag(root) - np.outer(np.sqrt(sizes), np.sqrt(sizes) * root) / K
    matrix = BlockMatrix(groups, np.where(groups.several, root, 0.0), core)
    value = matrix.nuclear()
    share = 1 / math.sqrt(groups.num_samples)
    per_class = root[groups.index]
    return Solution(
        problem=problem,
        status="optimal",
        objective=value,
        certificate=Certificate(
            value,
            "closed form",
            "Value of the problem of least norm with margins of at least 1, not of a loss: "
            "training without decay has no minimiser, and its direction may stay at another "
            "stationary point of that problem.",
        ),
        spectrum=matrix.singular_values() * share,
        build=lambda: read_out(problem, matrix, per_class, 1.0, None),
        solver="closed form",
        spreads=tuple(
            float(matrix.spread[group]) * share if groups.several[group] else None
            for group in groups.index
        ),
    )


def followed(problem: ULPM, ask: Ask) -> Solution:
    """Where gradient flow points, scaled to a smallest margin of 1."""
    made = flow(problem, **ask.options).geometry
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
