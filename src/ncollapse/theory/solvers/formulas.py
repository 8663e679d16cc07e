"""Formulas for the kin of unconstrained features: normalised, peeled, generalised.

Each function returns the solution or None where no formula is known.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar

from ncollapse.losses import CrossEntropy, MeanSquaredError
from ncollapse.theory.problems.gufm import GUFM
from ncollapse.theory.problems.lpm import LPM
from ncollapse.theory.problems.normalized import NormalizedUFM
from ncollapse.theory.proof import Certificate
from ncollapse.theory.solution import Solution
from ncollapse.theory.solvers.blocks import complement_of_ones
from ncollapse.theory.solvers.readout import direct_solution, geometry

Array = np.ndarray


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


def _aligned(
    problem: NormalizedUFM | LPM, product: float, lengths: tuple[float, float], statement: str
) -> Solution | None:
    """The aligned simplex, s = product, with means and rows of these lengths; None unless plain."""
    K = problem.num_classes
    if not _plain(problem, K - 1):
        return None
    rows, value = _simplex(K), _simplex_loss(K, product)
    return direct_solution(
        problem,
        made=geometry(problem, lengths[0] * rows, lengths[1] * rows),
        status="optimal",
        objective=value,
        certificate=_certain(value, statement),
        solver="closed form",
    )


def normalized(problem: NormalizedUFM) -> Solution | None:
    """Balanced cross-entropy on the sphere, d ≥ K - 1: f* = log(1 + (K - 1) e^{-tK/(K-1)}).

    The geometry holds W and h, so that its logits lack the factor t. Source: Yaras et al. 2022.
    """
    statement = "An aligned simplex on the sphere is the global minimum (Yaras et al. 2022)."
    return _aligned(problem, problem.temperature, (1.0, 1.0), statement)


def peeled(problem: LPM) -> Solution | None:
    """Balanced layer-peeled model, d ≥ K - 1: f* = log(1 + (K - 1) e^{-(K/(K-1))√(E_W E_H)}).

    Source: Fang et al. 2021.
    """
    product = math.sqrt(problem.weight_energy * problem.feature_energy)
    lengths = math.sqrt(problem.feature_energy), math.sqrt(problem.weight_energy)
    statement = "An aligned simplex that spends both energies (Fang et al. 2021)."
    return _aligned(problem, product, lengths, statement)


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
