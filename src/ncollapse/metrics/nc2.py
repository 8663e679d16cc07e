"""NC2, convergence to a simplex frame: norms, angles and Gram matrices of means and weights.

`rows` selects what is read: "means" are centred on the mean of class means, "weight" is taken as
it is. Ideal frames: the simplex E = (I - 11ᵀ/K)/√(K-1), the orthogonal frame I/√K of raw rows.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.linalg import EPSILON, frobenius
from ncollapse.pairs.rows import TINY, Rows
from ncollapse.pairs.sums import pair_sums, tiles

# Below this the d × d identities lose digits (their error is ε/value²), and tiles take over.
SMALLEST_IDENTITY = 1e-4


def _rows(geometry: Geometry, which: str) -> Rows:
    return geometry.mean_rows if which == "means" else geometry.weight_rows


def nc2_equinorm(geometry: Geometry, which: str = "means", *, ddof: int = 1) -> Float[Tensor, ""]:
    """Coefficient of variation std/mean of row norms (ddof = 1). Unitless, ≥ 0, ideal 0.

    Source: Papyan, Han, Donoho 2020.
    """
    norms = _rows(geometry, which).norms
    return norms.std(correction=ddof) / norms.mean()


def nc2_equiangular(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """Standard deviation of the cosines over pairs (ddof = 0). In [0, 1], ideal 0.

    Source: Papyan, Han, Donoho 2020.
    """
    rows = _rows(geometry, which)
    if len(rows) > LARGEST_GRAM or not geometry.pairs.exact:
        value = rows.cosine_variance.sqrt()
        if float(value) > SMALLEST_IDENTITY or not geometry.pairs.exact:
            return value
    # √ has no derivative at 0; the frame itself is a minimum, so 0 is the right subgradient.
    variance = (geometry.mean_pairs if which == "means" else geometry.weight_pairs).var_cosine
    if variance is None:
        exact = geometry.centred_means if which == "means" else rows.matrix
        variance = pair_sums(exact, distances=False, single=False).var_cosine
    assert variance is not None
    return torch.where(variance > 0, variance.clamp_min(TINY).sqrt(), 0)


def nc2_maxangle(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """Mean of abs(cos + 1/(K-1)) over pairs. In [0, 2], ideal 0.

    Source: Papyan, Han, Donoho 2020.
    """
    return geometry.pairs.shifted(which)


def nc2_angle_ratio(statistics: ClassStatistics, geometry: Geometry) -> Float[Tensor, ""]:
    """`nc2_maxangle_means` over its value for random directions that fill the features' span with
    their spectrum, √(2/(π d_eff)), d_eff = (tr S)²/tr S² of their covariance S.

    ≥ 0, ideal 0, about 1 for random directions (within 10 % for five classes and more). Where no
    scatter is kept, S is that of the class means. Readings with a null are over the null's mean
    instead. Source: this library.
    """
    return (
        nc2_maxangle(geometry) / (2 / (math.pi * effective_dimension(statistics, geometry))).sqrt()
    )


def effective_dimension(statistics: ClassStatistics, geometry: Geometry) -> Float[Tensor, ""]:
    """d_eff = (tr S)²/tr S² of S = Σ_W + Σ_B, of Σ_B alone where Σ_W was not kept."""
    weighting = "micro" if statistics.micro is not None else "macro"
    weights = statistics.class_weights(weighting)
    means = geometry.raw_rows.matrix
    rows = (means - weights @ means) * weights.sqrt()[:, None]
    gram = rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T
    trace, square = (rows**2).sum(), (gram**2).sum()
    scatter = statistics.scatter(weighting)
    if scatter is not None:
        trace = trace + scatter.diagonal().sum()
        square = square + (scatter**2).sum() + 2 * ((rows @ scatter) * rows).sum()
    return trace**2 / square


def nc2_etf(geometry: Geometry, which: str = "means", *, centred: bool = True) -> Float[Tensor, ""]:
    """‖G/‖G‖_F - E‖_F with G = MMᵀ or WWᵀ (W centred over classes, or raw with centred=False).

    In [0, 2], ideal 0. For K > d + 1 no simplex exists and the value cannot fall below
    √(2 - 2√(d/(K-1))). Source: Zhu et al. 2021.
    """
    rows = _rows(geometry, which)
    if which == "weight" and centred:
        rows = geometry.centred_weight_rows
    return gap_to_frame(rows, rows, simplex=True, exact=geometry.pairs.exact)


def nc2_orthogonal(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """‖G/‖G‖_F - I/√K‖_F with G of raw rows: 0 for an orthogonal frame (NC2B).

    In [0, 2]. Means are raw here: centred orthogonal means are themselves a simplex. The smallest
    possible value for K > d is √(2 - 2√(d/K)). Source: Zhou et al. 2022.
    """
    rows = geometry.raw_rows if which == "means" else geometry.weight_rows
    return gap_to_frame(rows, rows, simplex=False, exact=geometry.pairs.exact)


def nc2_gof(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """Mean of abs(cos) over pairs of raw rows, lengths free: 0 for a general orthogonal frame.

    In [0, 1]. Source: Dang et al. 2023.
    """
    return geometry.pairs.raw(which)


def nc2_rank(
    geometry: Geometry, which: str = "means", *, singular: bool = False
) -> Float[Tensor, ""]:
    """Effective rank of the rows over that of a simplex, exp(-Σ p log p)/(K - 1), p = λ/Σλ over
    the eigenvalues λ of RᵀR, R the rows minus their mean; `singular`: p = √λ/Σ√λ, the singular
    values of R, which weigh small directions more.

    In (0, 1], ideal 1: all K - 1 directions are used alike. At most d/(K - 1). Small for class
    means of low rank. Source: Roy, Vetterli 2007, who take singular values (remembered, not read).
    """
    # A function of eigenvalues alone has a derivative where they coincide, as at a simplex.
    values = _eigenvalues(geometry, which)
    if singular:
        # The root would make rounding count.
        cut = float(values.detach().max()) * EPSILON * geometry.num_classes
        values = values[values > cut].sqrt()
    share = (values / values.sum()).clamp_min(TINY)
    return torch.exp(-(share * share.log()).sum()) / (geometry.num_classes - 1)


def nc2_participation(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """Participation ratio of the rows over that of a simplex, (Σλ)²/Σλ²/(K - 1), λ as of
    `nc2_rank`, formed without them as (tr G)²/‖G‖²_F.

    In (0, 1], ideal 1, at most d/(K - 1); never above the effective rank. It is (1 - x²/2)² of
    x = `nc2_etf`, the distance to the simplex, said in directions. Source: Gao et al. 2017
    (remembered, not read).
    """
    gram = _gram(geometry, which)
    return (gram.diagonal().sum() / frobenius(gram)) ** 2 / (geometry.num_classes - 1)


def nc2_stable_rank(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """Stable rank of the rows over that of a simplex, ‖R‖²_F/‖R‖²_2/(K - 1) = Σλ/λ_max/(K - 1), λ
    as of `nc2_rank`.

    In (0, 1], ideal 1, at most d/(K - 1); never above the participation ratio: one long direction
    is enough to lower it. Source: Rudelson, Vershynin 2007 (remembered, not read).
    """
    values = _eigenvalues(geometry, which)
    return values.sum() / values.max() / (geometry.num_classes - 1)


def _gram(geometry: Geometry, which: str) -> Tensor:
    """RRᵀ or RᵀR of rows minus their mean, whichever is smaller."""
    rows = geometry.mean_rows if which == "means" else geometry.centred_weight_rows
    if len(rows) <= geometry.num_features:
        whole = rows.part(slice(None))
        return whole @ whole.T
    return rows.gram


def _eigenvalues(geometry: Geometry, which: str) -> Tensor:
    """Of `_gram`; found once for all ranks where no derivative is asked for."""
    kept: dict[str, Tensor] = geometry.__dict__.setdefault("_eigenvalues", {})
    if which in kept:
        return kept[which]
    found = torch.linalg.eigvalsh(_gram(geometry, which)).clamp_min(0)
    if not found.requires_grad:
        kept[which] = found
    return found


def rank_ceiling(num_classes: int, num_features: int) -> float:
    """Largest `nc2_rank` that d features allow: d/(K - 1), at most 1."""
    return min(1.0, num_features / (num_classes - 1))


def simplex_floor(num_classes: int, num_features: int) -> float:
    """Smallest `nc2_etf` that d features allow: √(2 - 2√(d/(K-1))) for K > d + 1, else 0."""
    share = min(1.0, num_features / (num_classes - 1))
    return math.sqrt(max(0.0, 2 - 2 * math.sqrt(share)))


def orthogonal_floor(num_classes: int, num_features: int) -> float:
    """Smallest `nc2_orthogonal` that d features allow: √(2 - 2√(d/K)) for K > d, else 0."""
    return simplex_floor(num_classes + 1, num_features)


def gap_to_frame(
    left: Rows, right: Rows, *, simplex: bool, exact: bool = True
) -> Float[Tensor, ""]:
    """‖G/‖G‖ - T‖ for G = LRᵀ and T the unit simplex or identity; K × K only while small.

    For many classes ⟨G, T⟩ and ‖G‖² come from d × d matrices, and the distance from
    2 - 2⟨G, T⟩/‖G‖; where that cancels the difference is summed over tiles, if `exact`.
    """
    count = len(left)
    if count <= LARGEST_GRAM:
        (_, first), (_, second) = next(left.blocks()), next(right.blocks())
        gram = first @ second.T
        return frobenius(gram / frobenius(gram) - _target(count, simplex, gram))
    norm = (left.gram * right.gram).sum().sqrt()
    inner = left.inner(right)
    if simplex:
        inner = (inner - left.sum() @ right.sum() / count) / math.sqrt(count - 1)
    else:
        inner = inner / math.sqrt(count)
    value = (2 - 2 * inner / norm).clamp_min(0).sqrt()
    if float(value) > SMALLEST_IDENTITY or not exact:
        return value
    total = norm.new_zeros(())
    for i, j in tiles(count):
        for a, b in [(i, j)] if i.start == j.start else [(i, j), (j, i)]:
            part = left.part(a) @ right.part(b).T / norm
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
