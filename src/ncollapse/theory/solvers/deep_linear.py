"""Deep linear features by formula: one scalar equation a class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from ncollapse.theory.problems.deep import Deep
from ncollapse.theory.problems.deep_linear import DeepLinearUFM
from ncollapse.theory.proof import Certificate
from ncollapse.theory.solution import Solution
from ncollapse.theory.solvers.readout import direct_solution, geometry

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Frame:
    """The best orthogonal frame of a chain of matrices: every class has a direction of its own.

    lengths: x_k = √π_k z_kk, 0 for a class that vanishes. energies: what every factor, its decay
    counted, carries in a class's direction: λ_l s_lk² = λ_H n_k ‖h_k‖². objective: f there.
    """

    lengths: Array
    energies: Array
    objective: float

    @property
    def alive(self) -> Array:
        """Which classes have not vanished."""
        return np.asarray(self.lengths > 0)


def best_frame(problem: Deep) -> Frame:
    """Per class min over x ≥ 0 of ½(x - √π_k)² + ((M+1)/2) (Πλ N x²)^{1/(M+1)}, with M matrices
    and Πλ over all decays. A width below the number of classes keeps those that gain most."""
    N, layers = problem.num_samples, problem.depth
    product = math.prod(problem.weight_decays) * problem.feature_decay
    targets = np.sqrt(np.array(problem.counts) / N)
    power = 2 / (layers + 1)
    level = (layers + 1) / 2 * (product * N) ** (1 / (layers + 1))
    found = {target: shrunk(float(target), power, level) for target in set(targets.tolist())}
    values = np.array([found[target] for target in targets.tolist()])
    gains = 0.5 * targets**2 - 0.5 * (values - targets) ** 2 - level * values**power
    if problem.num_features is not None and problem.num_features < (values > 0).sum():
        values[np.argsort(-gains, kind="stable")[problem.num_features :]] = 0.0
    alive = values > 0
    costs = np.where(alive, level * np.where(alive, values, 1.0) ** power, 0.0)
    value = float((0.5 * (values - targets) ** 2 + costs).sum())
    return Frame(values, (values**2 * N * product) ** (1 / (layers + 1)), value)


def deep_linear(problem: DeepLinearUFM) -> Solution | None:
    """Deep linear features under mean squared error, any counts: a general orthogonal frame.

    Lengths by class as in `best_frame`, z_kk = x/√π_k. The geometry holds the last matrix and what
    enters it. M ≤ 2 is confirmed by brute force; M ≥ 3 is not, and the status says so. Source: Dang
    et al. 2023.
    """
    K = problem.num_classes
    frame = best_frame(problem)
    targets = np.sqrt(np.array(problem.counts) / problem.num_samples)
    last = np.sqrt(frame.energies / problem.weight_decays[-1])
    entering = np.divide(frame.lengths / targets, last, out=np.zeros(K), where=last > 0)
    columns = np.flatnonzero(frame.alive) if problem.num_features is not None else np.arange(K)
    if not len(columns):
        columns = np.arange(1)
    width = problem.num_features or K
    value, layers = frame.objective, problem.depth
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


def shrunk(target: float, power: float, level: float) -> float:
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
