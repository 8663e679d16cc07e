"""Formulas for the kin of unconstrained features: normalised, peeled, deep linear, generalised.

Each function returns the solution or None where no formula is known.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from ncollapse.losses import CrossEntropy, MeanSquaredError
from ncollapse.theory.problems.problem import GUFM, LPM, ULPM, DeepLinearUFM, NormalizedUFM, Problem
from ncollapse.theory.solution import Certificate, Solution
from ncollapse.theory.solvers.blocks import BlockMatrix, Groups, complement_of_ones
from ncollapse.theory.solvers.readout import direct_solution, geometry, read_out

Array = np.ndarray


def formula(problem: Problem) -> Solution | None:
    """The solution by formula of any problem but UFM, or None."""
    if isinstance(problem, NormalizedUFM):
        return normalized(problem)
    if isinstance(problem, LPM):
        return peeled(problem)
    if isinstance(problem, ULPM):
        return direction_without_decay(problem)
    if isinstance(problem, DeepLinearUFM):
        return deep_linear(problem)
    if isinstance(problem, GUFM):
        return generalized(problem)
    return None


def _plain(problem: NormalizedUFM | LPM | GUFM, width: int) -> bool:
    """Balanced, unmodified cross-entropy with room for the frame."""
    roomy = problem.num_features is None or problem.num_features >= width
    return problem.balanced and problem.loss == CrossEntropy() and roomy


def _simplex(num_classes: int) -> Array:
    """Unit rows (K, K - 1) with cosines -1/(K - 1)."""
    return math.sqrt(num_classes / (num_classes - 1)) * complement_of_ones(num_classes)


def _simplex_loss(num_classes: int, product: float) -> float:
    """log(1 + (K - 1) e^{-s K/(K-1)}): cross-entropy of an aligned simplex, s = |w||h|."""
    K = num_classes
    return float(np.logaddexp(0.0, math.log(K - 1) - product * K / (K - 1)))


def _certain(value: float, statement: str) -> Certificate:
    return Certificate(value, "closed form", statement)


def normalized(problem: NormalizedUFM) -> Solution | None:
    """Balanced cross-entropy on the sphere, d ≥ K - 1: f* = log(1 + (K - 1) e^{-tK/(K-1)}).

    The geometry holds W and h, so that its logits lack the factor t. Source: Yaras et al. 2022.
    """
    K = problem.num_classes
    if not _plain(problem, K - 1):
        return None
    rows = _simplex(K)
    value = _simplex_loss(K, problem.temperature)
    return direct_solution(
        problem,
        made=geometry(problem, rows, rows),
        status="optimal",
        objective=value,
        certificate=_certain(
            value, "An aligned simplex on the sphere is the global minimum (Yaras et al. 2022)."
        ),
        solver="closed form",
    )


def peeled(problem: LPM) -> Solution | None:
    """Balanced layer-peeled model, d ≥ K - 1: f* = log(1 + (K - 1) e^{-(K/(K-1))√(E_W E_H)}).

    Source: Fang et al. 2021.
    """
    K = problem.num_classes
    if not _plain(problem, K - 1):
        return None
    rows = _simplex(K)
    value = _simplex_loss(K, math.sqrt(problem.weight_energy * problem.feature_energy))
    return direct_solution(
        problem,
        made=geometry(
            problem,
            math.sqrt(problem.feature_energy) * rows,
            math.sqrt(problem.weight_energy) * rows,
        ),
        status="optimal",
        objective=value,
        certificate=_certain(
            value, "An aligned simplex that spends both energies (Fang et al. 2021)."
        ),
        solver="closed form",
    )


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
        certificate=_certain(
            value,
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


def generalized(problem: GUFM) -> Solution | None:
    """Balanced layer-normalised features: f = min_w ℓ(w) + λ K w²/2 with rows of norm w.

    Cross-entropy (d ≥ K): aligned simplex, ℓ = log(1 + (K-1) e^{-wK/(K-1)}). Mean squared error
    (d ≥ K + 1): orthonormal features, w = 1/(1 + λK), f = ½(1-w)² + λKw²/2. Values derived from
    Jensen's inequality and |W X̄|_* ≤ ‖W‖ ‖X̄‖ = √K ‖W‖; the problem is that of Súkeník et al. 2025.
    """
    K, decay = problem.num_classes, problem.weight_decay
    squares = problem.loss == MeanSquaredError() and problem.balanced
    if squares:
        if problem.num_features is not None and problem.num_features < K + 1:
            return None
        norm = 1 / (1 + decay * K)
        value = 0.5 * (1 - norm) ** 2 + 0.5 * decay * K * norm**2
        rows = np.eye(K)
    elif _plain(problem, K):
        best = minimize_scalar(
            lambda w: _simplex_loss(K, w) + 0.5 * decay * K * w * w,
            bounds=(0.0, 1 + 2 * math.sqrt(2 * math.log(K) / (decay * K))),
            method="bounded",
            options={"xatol": 1e-12},
        )
        norm = _polished_norm(K, decay, float(best.x))
        value = _simplex_loss(K, norm) + 0.5 * decay * K * norm**2
        rows = _simplex(K)
    else:
        return None
    # Zero mean over the features: the frame lives in the complement of ones.
    used = rows.shape[1]
    width = problem.num_features or used + 1
    frame = rows @ complement_of_ones(width)[:, :used].T
    return direct_solution(
        problem,
        made=geometry(problem, frame, norm * frame),
        status="optimal",
        objective=value,
        certificate=_certain(
            value,
            "No point lies below the aligned frame: Jensen's inequality and |W X|_* ≤ √K ‖W‖ for "
            "unit features X; one norm is left to solve for.",
        ),
        solver="closed form",
        extra={"weight_norm": norm},
    )


def _polished_norm(num_classes: int, decay: float, norm: float) -> float:
    """Newton's method on the stationarity of log(1 + (K-1) e^{-wK/(K-1)}) + λKw²/2."""
    K, rate = num_classes, num_classes / (num_classes - 1)
    for _ in range(20):
        miss = 1 / (1 + math.exp(norm * rate) / (K - 1))
        slope = -rate * miss + decay * K * norm
        norm -= slope / (rate**2 * miss * (1 - miss) + decay * K)
    return norm
