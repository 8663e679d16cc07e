"""NC3, self-duality: whether the classifier's rows point where the class means do."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ncollapse.geometry import Geometry
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
