"""Regression with unconstrained features by formula."""

from __future__ import annotations

import numpy as np
import torch

from ncollapse.geometry import Geometry
from ncollapse.theory.problems.nrc import RegressionUFM
from ncollapse.theory.proof import Certificate
from ncollapse.theory.solution import Solution


def regression(problem: RegressionUFM) -> Solution:
    """The global minimum in spectral form, for any covariance of the targets and any width.

    For Σ = U Λ Uᵀ and a_j = (√λ_j - √c)₊ the product WH is the singular value soft threshold of Y -
    Ȳ at √(c M), and (λ_H/2M)‖H‖² + (λ_W/2)‖W‖² ≥ √(c/M) ‖WH‖_* with equality for W = (λ_H/λ_W)^¼ U
    √a R (R semi-orthogonal, d columns) and H = √(λ_W/λ_H) Wᵀ Σ^-½ (Y - Ȳ). A width below the rank
    keeps the largest λ_j, as the soft threshold of given rank does. The value is ½ Σ_j min(λ_j, c)
    + √c Σ_j a_j.
    """
    values, vectors = np.linalg.eigh(problem.covariance)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    c = problem.level
    a = np.maximum(np.sqrt(values) - np.sqrt(c), 0.0)
    rank = int((a > 0).sum())
    if problem.num_features is not None and problem.num_features < rank:
        a[problem.num_features :] = 0.0
    kept = a > 0
    # Of a direction that is not learnt all variance stays.
    left = np.where(kept, c, values)
    value = float(left.sum() / 2 + np.sqrt(c) * a.sum())
    scale = (problem.feature_decay / problem.weight_decay) ** 0.25
    width = problem.num_features or max(rank, 1)
    n, used = len(values), int(kept.sum())
    weight = np.zeros((n, width))
    weight[:, :used] = scale * vectors[:, :used] * np.sqrt(a[:used])
    held = torch.from_numpy(weight)

    def build() -> Geometry:
        return Geometry(weight=held)

    return Solution(
        problem=problem,
        status="optimal",
        objective=value,
        certificate=Certificate(
            value,
            "closed form",
            "The loss is that of a nuclear norm, whose minimum is a soft threshold of the targets' "
            "singular values: no W, H and b of this width have a lower one.",
        ),
        spectrum=a,
        build=build,
        solver="closed form",
        extra={
            "required_width": max(rank, 1),
            "weight": held,
            "gram": torch.from_numpy(scale**2 * (vectors * a) @ vectors.T),
            "error_covariance": torch.from_numpy((vectors * left) @ vectors.T),
            "eigenvalues": values,
        },
    )
