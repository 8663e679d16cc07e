"""NC3, self-duality: whether the classifier's rows point where the class means do."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.linalg import row_norms, unit_gap
from ncollapse.metrics.nc2 import gap_to_frame


def _weight(geometry: Geometry) -> Tensor:
    if geometry.weight is None:
        raise ValueError("NC3 compares class means with a classifier; pass its weight (K, d)")
    return geometry.weight


def nc3_duality(
    geometry: Geometry, *, means: str = "centred", squared: bool = False
) -> Float[Tensor, ""]:
    """‖W/‖W‖_F - A/‖A‖_F‖_F, A = centred or raw class means (`means`). In [0, 2], ideal 0.

    `squared` returns its square, as printed in the first notebook. Source: Papyan, Han, Donoho
    2020.
    """
    rows = geometry.centred_means if means == "centred" else geometry.means
    assert rows is not None
    gap = unit_gap(_weight(geometry), rows)
    return gap**2 if squared else gap


def nc3_alignment(geometry: Geometry) -> Float[Tensor, ""]:
    """Mean over classes of cos(w_c, m_c). In [-1, 1], ideal 1."""
    weight, means = _weight(geometry), geometry.centred_means
    tiny = torch.finfo(torch.float64).tiny
    norms = (row_norms(weight) * row_norms(means)).clamp_min(tiny)
    return ((weight * means).sum(1) / norms).mean()


def nc3_product(geometry: Geometry, *, centred: bool = False) -> Float[Tensor, ""]:
    """‖WMᵀ/‖WMᵀ‖_F - E‖_F, E the unit simplex Gram matrix. In [0, 2], ideal 0.

    Zero only for a dual pair that is also a simplex. `centred` centres W over classes first.
    Source: Zhu et al. 2021.
    """
    weight = geometry.centred_weight if centred else _weight(geometry)
    return gap_to_frame(weight, geometry.centred_means, simplex=True)
