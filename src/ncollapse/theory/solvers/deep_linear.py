"""Deep linear features by formula: one scalar equation a class."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq

from ncollapse.theory.problems.deep_linear import DeepLinearUFM
from ncollapse.theory.proof import Certificate
from ncollapse.theory.solution import Solution
from ncollapse.theory.solvers.readout import direct_solution, geometry


def deep_linear(problem: DeepLinearUFM) -> Solution | None:
    """Deep linear features under mean squared error, any counts: a general orthogonal frame.

    Per class min over x ≥ 0 of ½(x - √π_k)² + ((M+1)/2) (Πλ N x²)^{1/(M+1)}, z_kk = x/√π_k, with
    M matrices and Πλ over all decays. The geometry holds the last matrix and what enters it.
    M ≤ 2 is confirmed by brute force; M ≥ 3 is not, and the status says so. Source: Dang et al.
    2023.
    """
    K, N = problem.num_classes, problem.num_samples
    layers = len(problem.weight_decays)
    product = math.prod(problem.weight_decays) * problem.feature_decay
    targets = np.sqrt(np.array(problem.counts) / N)
    power = 2 / (layers + 1)
    level = (layers + 1) / 2 * (product * N) ** (1 / (layers + 1))
    found = {target: _shrunk(float(target), power, level) for target in set(targets.tolist())}
    values = np.array([found[target] for target in targets.tolist()])
    gains = 0.5 * targets**2 - 0.5 * (values - targets) ** 2 - level * values**power
    if problem.num_features is not None and problem.num_features < (values > 0).sum():
        values[np.argsort(-gains, kind="stable")[problem.num_features :]] = 0.0
    alive = values > 0
    costs = np.where(alive, level * np.where(alive, values, 1.0) ** power, 0.0)
    value = float((0.5 * (values - targets) ** 2 + costs).sum())
    # Every factor carries the same energy λ s² in a class's direction.
    energy = (values**2 * N * product) ** (1 / (layers + 1))
    last = np.sqrt(energy / problem.weight_decays[-1])
    entering = np.divide(values / targets, last, out=np.zeros(K), where=last > 0)
    columns = np.flatnonzero(alive) if problem.num_features is not None else np.arange(K)
    if not len(columns):
        columns = np.arange(1)
    width = problem.num_features or K
    sure = layers <= 2
    statement = (
        "Each class solves its own scalar equation: a general orthogonal frame (Dang et al. 2023)."
    )
    if not sure:
        statement += f" Global optimality is not confirmed for {layers} matrices."
    return direct_solution(
        problem,
        made=geometry(
            problem, np.diag(entering)[:, columns], np.diag(last)[:, columns], None, width
        ),
        status="optimal" if sure else "not certified",
        objective=value,
        certificate=Certificate(
            value if sure else None, "closed form" if sure else "none", statement
        ),
        solver="closed form",
        advice=""
        if sure
        else 'compare with several seeds of solver="descent"; zero layers are local minima',
    )


def _shrunk(target: float, power: float, level: float) -> float:
    """argmin over x ≥ 0 of ½(x - target)² + level x^power, 0 < power ≤ 1."""
    if power == 1.0:
        return max(target - level, 0.0)
    jump = (2 - power) / (2 * (1 - power)) * (2 * level * (1 - power)) ** (1 / (2 - power))
    if target <= jump:
        return 0.0
    bend = (level * power * (1 - power)) ** (1 / (2 - power))

    def slope(x: float) -> float:
        return float(x - target + level * power * x ** (power - 1))

    return float(brentq(slope, bend, target, xtol=1e-15))
