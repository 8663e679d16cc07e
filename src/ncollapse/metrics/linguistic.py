"""Linguistic collapse: next tokens as classes, more than directions, in very unequal numbers.

m_c = μ_c - mean μ are class means about the mean of class means, u_c = m_c/‖m_c‖, v_c the variance
within a class. What is polynomial in the means comes from d × d matrices; kernels and CDNV from one
pass over pairs (`ncollapse.pairs.kernels`), or of drawn pairs past the pair budget. Source of the
readings: Wu, Papyan 2024, in the forms of their code; what is this library's own is marked.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.linalg import frobenius
from ncollapse.metrics.nc4 import nc4_mismatch
from ncollapse.pairs.kernels import SCALE
from ncollapse.pairs.rows import TINY
from ncollapse.pairs.sums import tiles

# Below it the variance of inner products is summed over tiles, as their identity cancels.
SMALLEST_IDENTITY = 1e-4


def cdnv(
    statistics: ClassStatistics,
    geometry: Geometry,
    *,
    exponent: int = 1,
    log: bool = False,
    scaled: bool = False,
    unbiased: bool = False,
) -> Float[Tensor, ""]:
    """Mean over pairs of (v_i + v_j)/2 · ‖μ_i - μ_j‖^(-2p), p = `exponent`; log: of logarithms.

    ≥ 0 (log: any number), ideal 0 (log: -∞). p = 1 has no unit; p = 2 has 1/length², so that it
    falls when features merely grow. scaled: p = 2 times mean ‖m_c‖², without a unit (this
    library's). unbiased: v_c n_c/(n_c - 1), pooled for a class of one; without it a class of one
    has v = 0, and the logarithm of a pair of such is -∞. Infinite where two means coincide.
    """
    traces = statistics.unbiased_spreads if unbiased else statistics.traces
    length = (geometry.mean_rows.norms**2).mean() if scaled else torch.ones_like(traces[0])
    if log:
        return geometry.pairs.log_spread(traces * length, exponent)
    return geometry.pairs.spread(traces * length, exponent, kernels=True)


def equinorm_log(geometry: Geometry, *, relative: bool = True) -> Float[Tensor, ""]:
    """Standard deviation of log ‖m_c‖ (ddof = 1), `relative`: over the size of its mean. ≥ 0,
    ideal 0.

    The mean of logarithms depends on the unit of length, and so does the quotient, which has no
    bound where typical lengths are near 1; the standard deviation alone does not.
    """
    logs = geometry.mean_rows.norms.log()
    spread = logs.std()
    return spread / logs.mean().abs() if relative else spread


def interference(geometry: Geometry) -> Float[Tensor, ""]:
    """Mean over pairs of ⟨m_i, m_j⟩. As Σ m = 0 it is -mean ‖m‖²/(K - 1) whatever the directions
    are: lengths are all that it tells. ≤ 0."""
    return -(geometry.mean_rows.norms**2).mean() / (geometry.num_classes - 1)


def interference_spread(geometry: Geometry) -> Float[Tensor, ""]:
    """Standard deviation over pairs of ⟨m_i, m_j⟩ (ddof = 0) over mean ‖m‖². ≥ 0, ideal 0.

    (K - 1) times it is the published quotient of standard deviation and mean. By d × d sums,
    Σ_{i≠j} ⟨m_i, m_j⟩² = ‖MᵀM‖²_F - Σ ‖m_i‖⁴, or K × K ones where those are small.
    """
    rows = geometry.mean_rows
    count = len(rows)
    pairs = count * (count - 1)
    length = (rows.norms**2).mean()
    mean = interference(geometry)
    if count > LARGEST_GRAM:
        squares = frobenius(rows.gram) ** 2 - (rows.norms**4).sum()
        value = (squares / pairs - mean**2).clamp_min(0).sqrt() / length
        if float(value) > SMALLEST_IDENTITY or not geometry.pairs.exact:
            return value
    total = torch.zeros_like(mean)
    for i, j in tiles(count):
        gap = (rows.part(i) @ rows.part(j).T - mean) ** 2
        total = total + (gap.triu(1) if i.start == j.start else gap).sum()
    return _root(2 * total / pairs) / length


def kernel(geometry: Geometry, name: str) -> Float[Tensor, ""]:
    """GNC2: mean over pairs of a kernel of the distances ‖u_i - u_j‖.

    log: -log ‖·‖. rbf: exp(-2 ‖·‖²). riesz: (1/s) log of the mean of ‖·‖⁻ˢ, s = d - 2 (1 up to
    d = 3): the published mean itself leaves float32 from a few hundred features on; this one is in
    the units of the log kernel, and rises with the other. Least for directions that are spread
    evenly (`log_floor`, `rbf_floor`); infinite (rbf: 1) where all directions are one.
    """
    return geometry.pairs.kernel(name)


def variation(geometry: Geometry, name: str) -> Float[Tensor, ""]:
    """Standard deviation over pairs of a kernel, over the size of its mean. ≥ 0, 0 for a simplex.

    Random directions of many features read little already; it tells trained models apart, not
    training from none.
    """
    return geometry.pairs.variation(name)


def log_floor(num_classes: int, num_features: int) -> float:
    """Least mean of the log kernel, and of the Riesz kernel as it is read: -½ log(2K/(K-1)).

    Both are convex in ‖u_i - u_j‖², whose mean over pairs is at most 2K/(K-1); a simplex reaches
    it.
    """
    return -0.5 * math.log(2 * num_classes / (num_classes - 1))


def rbf_floor(num_classes: int, num_features: int) -> float:
    """Least mean of exp(-t q): exp(-2tK/(K-1)), t = 2, as in `log_floor`."""
    return math.exp(-SCALE * 2 * num_classes / (num_classes - 1))


def cosines(geometry: Geometry) -> Float[Tensor, " classes"]:
    """cos(w_c, m_c); 0 for a zero row."""
    weight, means = geometry.weight_rows, geometry.mean_rows
    return weight.dots(means) / (weight.norms * means.norms).clamp_min(TINY)


def unc3(geometry: Geometry) -> Float[Tensor, ""]:
    """UNC3: standard deviation over classes of cos(w_c, m_c) (ddof = 1) over the size of its mean.
    ≥ 0, ideal 0: rows of the head are all as far from their means. No bound where the mean is near
    0."""
    found = cosines(geometry)
    return found.std() / found.mean().abs()


def nc4(decisions: Decisions, *, plain: bool = False) -> Float[Tensor, ""]:
    """Share of tokens where argmax(Wh + b) = argmin_c ‖h - μ_c‖. In [0, 1], ideal 1.

    Centres are those of tokens that the reference split has: a token without a sample has no mean
    and is no candidate. plain: distances as they are, as published, else without the noise of the
    means.
    """
    return 1 - nc4_mismatch(decisions, plain=plain)


def kept(
    statistics: ClassStatistics, geometry: Geometry, min_count: int
) -> tuple[ClassStatistics, Geometry, str | None]:
    """Both without the classes of fewer than `min_count` samples, and a sentence that says so, None
    where none goes. Raises ValueError for min_count < 1, and where fewer than two classes stay."""
    if min_count < 1:
        raise ValueError(f"min_count={min_count}; at least 1 sample a class is needed")
    index = (statistics.counts >= min_count).nonzero().flatten()
    total = statistics.num_classes
    if len(index) == total:
        return statistics, geometry, None
    if len(index) < 2:
        raise ValueError(
            f"{len(index)} of {total} classes have {min_count} samples or more, and pairs need "
            "two; ask for a smaller min_count, or measure more text"
        )
    samples = int(statistics.counts.sum() - statistics.counts[index].sum())
    said = (
        f"{total - len(index)} of {total} classes have fewer than {min_count} samples "
        f"({samples} in all) and are left out of what is read of class means"
    )
    return statistics.select(index), geometry.select(index), said


def _root(square: Tensor) -> Tensor:
    """√, whose derivative at 0 is taken as 0: the frame itself is a minimum."""
    return torch.where(square > 0, square.clamp_min(TINY).sqrt(), 0)
