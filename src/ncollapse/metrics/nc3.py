"""NC3, self-duality: whether the classifier's rows point where the class means do."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.linalg import unit_gap
from ncollapse.metrics.nc2 import gap_to_frame
from ncollapse.pairs.rows import TINY


def nc3_duality(
    geometry: Geometry, *, means: str = "centred", weight: str = "raw", squared: bool = False
) -> Float[Tensor, ""]:
    """‖W/‖W‖_F - A/‖A‖_F‖_F, A = centred or raw class means (`means`). In [0, 2], ideal 0.

    `weight` "centred" takes the mean row off W first, which softmax does not see (`nc0`). `squared`
    returns its square, as printed in the first notebook. Source: Papyan, Han, Donoho 2020.
    """
    rows = geometry.centred_weight_rows if weight == "centred" else geometry.weight_rows
    gap = rows.gap(geometry.mean_rows if means == "centred" else geometry.raw_rows)
    return gap**2 if squared else gap


def nc3_alignment(geometry: Geometry) -> Float[Tensor, ""]:
    """Mean over classes of cos(w_c, m_c). In [-1, 1], ideal 1."""
    weight, means = geometry.weight_rows, geometry.mean_rows
    return (weight.dots(means) / (weight.norms * means.norms).clamp_min(TINY)).mean()


def nc3_product(geometry: Geometry, *, centred: bool = False) -> Float[Tensor, ""]:
    """‖WMᵀ/‖WMᵀ‖_F - E‖_F, E the unit simplex Gram matrix. In [0, 2], ideal 0.

    Zero only for a dual pair that is also a simplex. `centred` centres W over classes first.
    Source: Zhu et al. 2021.
    """
    weight = geometry.centred_weight_rows if centred else geometry.weight_rows
    return gap_to_frame(weight, geometry.mean_rows, simplex=True, exact=geometry.pairs.exact)


def nc3_balance(geometry: Geometry) -> Float[Tensor, ""]:
    """‖W̃ᵀW̃/‖W̃ᵀW̃‖_F - MᵀM/‖MᵀM‖_F‖_F, W̃ and M the classifier's rows and class means less
    their means. In [0, √2], ideal 0: classifier and means have one covariance, as gradient flow
    and weight decay make of layers in a row. Duality implies it; it asks for no match of rows with
    classes, so that it holds of frames of any kind, where W̃ = Q M with an orthogonal Q.

    Formed as a difference of d × d matrices, in the span of both where that is smaller, so that
    small gaps are exact. Source: Arora, Cohen, Hazan 2018; of features as a layer, Tirer, Bruna
    2022 (both remembered, not read); the distance is ours.
    """
    W, M = geometry.centred_weight_rows, geometry.mean_rows
    if 4 * geometry.num_classes >= geometry.num_features:
        return unit_gap(W.gram, M.gram)
    w, m = geometry.centred_weight, geometry.centred_means
    basis = torch.linalg.qr(torch.cat([w.detach(), m.detach()]).T).Q
    w, m = w @ basis, m @ basis
    return unit_gap(w.T @ w, m.T @ m)
