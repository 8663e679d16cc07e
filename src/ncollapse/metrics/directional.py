"""Directional collapse: classes that have become rays, whatever the lengths of their features.

Two-layer ReLU networks trained from small weights on separable data end so: directions of a class
coincide, class means are orthogonal, lengths still vary, so NC1 stays (`theory/subjects/rays`).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.directions import Rays
from ncollapse.geometry import Geometry
from ncollapse.linalg import row_norms
from ncollapse.pairs.sums import tiles


def dir_spread(rays: Rays) -> Float[Tensor, ""]:
    """Mean over classes of 1 - R_k, R_k = ‖(1/n_k) Σ h_i/‖h_i‖‖. In [0, 1], ideal 0: every class is
    a ray. The mean cosine of two samples of class k is (n_k R_k² - 1)/(n_k - 1).

    Formed as (1 - R²)/(1 + R), 1 - R² the mean squared distance of unit vectors from their mean, so
    that it is right at 1e-12. Samples of length zero have no direction and are left out; NaN where
    a class has no others. Source: Min, Zhu, Vidal 2025.
    """
    return shortfall(rays.gaps).mean()


def shortfall(gaps: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """1 - R of 1 - R², without their cancellation."""
    return gaps / (1 + (1 - gaps).clamp_min(0).sqrt())


def norm_cv(rays: Rays) -> Float[Tensor, ""]:
    """Mean over classes of std/mean of ‖h‖ (ddof = 0). ≥ 0, ideal 0; of rays it is what NC1 is left
    with: tr Σ_W over the squared mean lengths. NaN where a class has samples of length zero only.
    """
    return (rays.variances.sqrt() / rays.lengths).mean()


def raw_cosine(geometry: Geometry) -> Float[Tensor, ""]:
    """Largest abs(cos) between two raw class means. In [0, 1]; 0 for a general orthogonal frame.

    `nc2_gof_means` is the mean over pairs where this is the largest. Differentiable where one pair
    alone is largest. Source: Min, Zhu, Vidal 2025.
    """
    rows = geometry.raw_rows.matrix
    norms = row_norms(rows)
    unit = rows / torch.where(norms > 0, norms, 1.0)[:, None]
    largest = unit.new_zeros(())
    for i, j in tiles(len(unit)):
        found = (unit[i] @ unit[j].T).abs()
        if i.start == j.start:
            found = found.masked_fill(torch.eye(len(found), dtype=torch.bool), 0)
        largest = torch.maximum(largest, found.max())
    return largest.clamp_max(1)
