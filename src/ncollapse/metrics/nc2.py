"""NC2, convergence to a simplex frame: norms, angles and Gram matrices of means and weights.

`rows` selects what is read: "means" are centred on the mean of class means, "weight" is taken as
it is. Ideal frames: the simplex E = (I - 11ᵀ/K)/√(K-1), the orthogonal frame I/√K of raw rows.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.linalg import frobenius, row_norms
from ncollapse.pairs import PairSums, pair_sums, tiles

# Below this the d × d identities lose digits (their error is ε/value²), and tiles take over.
SMALLEST_IDENTITY = 1e-4


def _rows(geometry: Geometry, which: str) -> Tensor:
    if which == "means":
        return geometry.centred_means
    if geometry.weight is None:
        raise ValueError("this geometry holds no classifier weight; build it with weight=…")
    return geometry.weight


def _pairs(geometry: Geometry, which: str) -> PairSums:
    return geometry.mean_pairs if which == "means" else geometry.weight_pairs


def nc2_equinorm(geometry: Geometry, which: str = "means", *, ddof: int = 1) -> Float[Tensor, ""]:
    """Coefficient of variation std/mean of row norms (ddof = 1). Unitless, ≥ 0, ideal 0.

    Source: Papyan, Han, Donoho 2020.
    """
    norms = row_norms(_rows(geometry, which))
    return norms.std(correction=ddof) / norms.mean()


def nc2_equiangular(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """Standard deviation of the cosines over pairs (ddof = 0). In [0, 1], ideal 0.

    Source: Papyan, Han, Donoho 2020.
    """
    count = geometry.num_classes
    if count > LARGEST_GRAM:
        unit = _rows(geometry, which)
        unit = unit / row_norms(unit).clamp_min(torch.finfo(torch.float64).tiny)[:, None]
        pairs = count * (count - 1)
        squares = (frobenius(unit.T @ unit) ** 2 - (row_norms(unit) ** 4).sum()) / pairs
        mean = ((unit.sum(0) ** 2).sum() - (unit**2).sum()) / pairs
        value = (squares - mean**2).clamp_min(0).sqrt()
        if float(value) > SMALLEST_IDENTITY:
            return value
    # √ has no derivative at 0; the frame itself is a minimum, so 0 is the right subgradient.
    variance = _pairs(geometry, which).var_cosine
    if variance is None:
        exact = pair_sums(_rows(geometry, which), distances=False, single=False)
        variance = exact.var_cosine
    assert variance is not None
    return torch.where(variance > 0, variance.clamp_min(torch.finfo(torch.float64).tiny).sqrt(), 0)


def nc2_maxangle(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """Mean of abs(cos + 1/(K-1)) over pairs. In [0, 2], ideal 0.

    Source: Papyan, Han, Donoho 2020.
    """
    return _pairs(geometry, which).mean_abs_shifted


def nc2_angle_ratio(geometry: Geometry) -> Float[Tensor, ""]:
    """`nc2_maxangle_means` over its value for random directions, √(2/(πd)).

    ≥ 0, ideal 0, about 1 for random directions. Source: this library.
    """
    return nc2_maxangle(geometry) / math.sqrt(2 / (math.pi * geometry.num_features))


def nc2_etf(geometry: Geometry, which: str = "means", *, centred: bool = True) -> Float[Tensor, ""]:
    """‖G/‖G‖_F - E‖_F with G = MMᵀ or WWᵀ (W centred over classes, or raw with centred=False).

    In [0, 2], ideal 0. For K > d + 1 no simplex exists and the value cannot fall below
    √(2 - 2√(d/(K-1))). Source: Zhu et al. 2021.
    """
    rows = _rows(geometry, which)
    if which == "weight" and centred:
        rows = geometry.centred_weight
    return gap_to_frame(rows, rows, simplex=True)


def nc2_orthogonal(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """‖G/‖G‖_F - I/√K‖_F with G of raw rows: 0 for an orthogonal frame (NC2B).

    In [0, 2]. Means are raw here: centred orthogonal means are themselves a simplex. The smallest
    possible value for K > d is √(2 - 2√(d/K)). Source: Zhou et al. 2022.
    """
    rows = geometry.means if which == "means" else geometry.weight
    if rows is None:
        raise ValueError(f"this geometry holds no {which}")
    return gap_to_frame(rows, rows, simplex=False)


def nc2_gof(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """Mean of abs(cos) over pairs of raw rows, lengths free: 0 for a general orthogonal frame.

    In [0, 1]. Source: Dang et al. 2023.
    """
    if which == "weight":
        return geometry.weight_pairs.mean_abs_cosine
    value = geometry.mean_pairs.mean_abs_raw
    assert value is not None
    return value


def simplex_floor(num_classes: int, num_features: int) -> float:
    """Smallest `nc2_etf` that d features allow: √(2 - 2√(d/(K-1))) for K > d + 1, else 0."""
    share = min(1.0, num_features / (num_classes - 1))
    return math.sqrt(max(0.0, 2 - 2 * math.sqrt(share)))


def orthogonal_floor(num_classes: int, num_features: int) -> float:
    """Smallest `nc2_orthogonal` that d features allow: √(2 - 2√(d/K)) for K > d, else 0."""
    return simplex_floor(num_classes + 1, num_features)


def gap_to_frame(left: Tensor, right: Tensor, *, simplex: bool) -> Float[Tensor, ""]:
    """‖G/‖G‖ - T‖ for G = LRᵀ and T the unit simplex or identity; K × K only while small.

    For many classes ⟨G, T⟩ and ‖G‖² come from d × d matrices, and the distance from
    2 - 2⟨G, T⟩/‖G‖; where that cancels the difference is summed over tiles.
    """
    count = left.shape[0]
    if count <= LARGEST_GRAM:
        gram = left @ right.T
        return frobenius(gram / frobenius(gram) - _target(count, simplex, gram))
    norm = ((left.T @ left) * (right.T @ right)).sum().sqrt()
    inner = (left * right).sum()
    if simplex:
        inner = (inner - left.sum(0) @ right.sum(0) / count) / math.sqrt(count - 1)
    else:
        inner = inner / math.sqrt(count)
    value = (2 - 2 * inner / norm).clamp_min(0).sqrt()
    if float(value) > SMALLEST_IDENTITY:
        return value
    total = left.new_zeros(())
    for i, j in tiles(count):
        for a, b in [(i, j)] if i.start == j.start else [(i, j), (j, i)]:
            part = left[a] @ right[b].T / norm
            part = part - _target_tile(count, simplex, a, b, part)
            total = total + (part**2).sum()
    return total.sqrt()


def _target(count: int, simplex: bool, like: Tensor) -> Tensor:
    full = slice(0, count)
    return _target_tile(count, simplex, full, full, like)


def _target_tile(count: int, simplex: bool, i: slice, j: slice, like: Tensor) -> Tensor:
    tile = torch.zeros_like(like, requires_grad=False)
    if i.start == j.start:
        tile.fill_diagonal_(1.0)
    if not simplex:
        return tile / math.sqrt(count)
    return (tile - 1 / count) / math.sqrt(count - 1)
