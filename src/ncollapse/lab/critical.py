"""Critical points of free features: cut from the optimum or constructed, and what they read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from ncollapse.lab.free import SETTLED, gap_of
from ncollapse.theory.problems import UFM, ULPM
from ncollapse.theory.problems.point import Point, class_labels
from ncollapse.theory.solve import solve
from ncollapse.theory.solvers.descent import descend
from ncollapse.theory.solvers.flow import kkt, kkt_point
from ncollapse.theory.subjects.landscape import landscape, perturbed_descent

STEPS = (0.01, 0.03, 0.1)


# ---- saddles with decay -------------------------------------------------------------------------
def truncated(point: Point, rank: int) -> Point:
    """W and H in their leading `rank` shared directions, as a point of that width."""
    both = torch.cat([point.weight, point.features])
    basis = torch.linalg.svd(both, full_matrices=False)[2][:rank].T
    return Point(point.weight @ basis, point.features @ basis, point.bias)


def critical(problem: UFM, optimum: Point, rank: int) -> Point:
    """The optimum cut to its leading `rank` directions, and settled among points of that width."""
    point = truncated(optimum, max(rank, 1))
    if rank:
        narrow = replace(problem, num_features=rank)
        point = descend(narrow, start=point, tolerance=1e-10).extra["point"]
    else:
        point = Point(torch.zeros_like(point.weight), torch.zeros_like(point.features))
    return point.widened(optimum.weight.shape[1])


def saddle(
    problem: UFM, optimum: Point, rank: int, *, seed: int, max_iterations: int
) -> dict[str, Any]:
    """The point of that rank: its gradient, its curvature (measured, and by the formula) with the
    unit √(λ_W λ_H), and the gap where descent from a small perturbation ends. Raises ValueError
    where it is no saddle."""
    point = critical(problem, optimum, rank)
    found = landscape(point, problem)
    if found.curvature is None or found.measured_curvature is None:
        raise ValueError(f"the point of rank {rank} is no saddle: {found.statement}")
    escaped = perturbed_descent(
        point, problem, seed=seed, max_iterations=max_iterations, tolerance=SETTLED
    )
    return {
        "rank": rank,
        "settled_rank": int(torch.linalg.matrix_rank(point.weight, rtol=1e-6)),
        "objective": found.objective,
        "gradient": found.gradient_norm,
        "curvature": found.measured_curvature,
        "formula": found.curvature,
        "threshold": found.threshold,
        "escaped": gap_of(escaped),
        "optimum": escaped.objective,
    }


def envelope_limit(gamma: float) -> float:
    """p₀(γ): the slope of ψ(s), p = 1/(1 + e^s), is 1 there and the envelope is straight below.

    ψ'(s) = (1-p)^γ ((1-p) - γ p log p); the root p < ½ other than p = 0.
    """
    from scipy.optimize import brentq

    def slope(p: float) -> float:
        return (1 - p) ** gamma * ((1 - p) - gamma * p * math.log(p)) - 1

    return float(brentq(slope, 0.01, 0.5, xtol=1e-15))


def focal_point(problem: UFM, gamma: float) -> dict[str, Any]:
    """Where descent of a focal loss ends, the lowest of three starts: probability p_y, p₀(γ), the
    gap, and whether the solver certifies its own point. Classes weigh alike, λ_W = λ_H."""
    found = min((descend(problem, seed=seed) for seed in range(3)), key=lambda run: run.objective)
    return {
        "gamma": gamma,
        "decay": problem.weight_decay,
        "p": float(found.logits.softmax(0).diagonal().min()),
        "limit": envelope_limit(gamma),
        "gap": found.relative_gap,
        "solver": solve(problem).status == "optimal",
    }


# ---- KKT points without decay -------------------------------------------------------------------
def step_from(point: Point, direction: Point, step: float) -> Point:
    """The point after a step along a direction, in units of its largest entry."""
    scale = step * float(point.weight.abs().max())
    return Point(
        point.weight + scale * direction.weight, point.features + scale * direction.features
    )


def energy(point: Point, problem: ULPM) -> float:
    """½‖W‖² + ½‖H‖² after scaling to smallest margin 1; infinite unless all are separated."""
    labels = class_labels(problem.counts)
    logits = point.logits
    own = logits.gather(1, labels[:, None])
    gaps = (own - logits).scatter(1, labels[:, None], math.inf)
    margin = float(gaps.min())
    if margin <= 0:
        return math.inf
    return float(point.weight.square().sum() + point.features.square().sum()) / 2 / margin


def constructed(shape: str, num_classes: int, count: int) -> dict[str, Any]:
    """A constructed KKT point: the residual of its conditions, its energy above the simplex's, and
    the largest decrease that a small step in its direction brings."""
    problem = ULPM((count,) * num_classes)
    point = kkt_point(shape, problem, width=2 * num_classes)
    found = kkt(point, problem)
    changes = [math.inf]
    if found.direction is not None:
        moved = (step_from(point, found.direction, step) for step in STEPS)
        changes = [energy(there, problem) / found.energy - 1 for there in moved]
    # ½‖W‖² + ½‖H‖² of the simplex at margins 1.
    simplex = math.sqrt(count) * (num_classes - 1)
    return {
        "shape": shape,
        "classes": num_classes,
        "residual": max(found.stationarity, abs(energy(point, problem) / found.energy - 1)),
        "excess": found.excess,
        "change": min(changes),
        "above_simplex": found.energy / simplex - 1,
    }
