"""Generalised collapse: how more classes than a simplex can hold, K > d + 1, share d directions.

`which` selects what is read: "means" are centred on the mean of class means, "weight" is taken as
it is; u_k are their unit rows. d counts the directions that these rows span, never columns: what is
appended, rotated or empty changes nothing. What K rows can reach: `ncollapse.pairs.bounds`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.linalg import EPSILON
from ncollapse.metrics.uniformity import OfPairs, log_kernel, of_pairs
from ncollapse.pairs.bounds import cosine_bound, margin_bound
from ncollapse.pairs.means import SampledPairs
from ncollapse.pairs.rows import Rows

# Multiplications K (d + 1)² up to which a margin is exact, of 2,048 classes at most: a second of
# one core, eight times with the nulls of means and weight.
MARGIN_COST = 5e6
# A hull's nearest point is known to this.
NEAREST = 1e-10


def rows_of(geometry: Geometry, which: str) -> Rows:
    """The rows that are read: centred means, or the classifier as it is."""
    return geometry.mean_rows if which == "means" else geometry.weight_rows


def occupied(geometry: Geometry, which: str = "means") -> int:
    """How many directions the rows span: of means as everywhere in this library the rank of Σ_B,
    of a weight its rank. Past the pair budget the number of columns, which is an upper bound."""
    known: dict[str, int] = geometry.__dict__.setdefault("_occupied", {})
    if which not in known:
        rows = rows_of(geometry, which)
        if not geometry.pairs.exact:
            known[which] = geometry.num_features
        elif which == "means":
            known[which] = geometry.between.rank
        else:
            matrix = rows.matrix.detach()
            if len(rows) > matrix.shape[1] and len(rows) > LARGEST_GRAM:
                matrix = torch.linalg.qr(matrix, mode="r").R
            sizes = torch.linalg.svdvals(matrix)
            cut = float(sizes[0]) * EPSILON * max(rows.matrix.shape)
            known[which] = int((sizes > cut).sum())
    return known[which]


def crowded(geometry: Geometry) -> bool:
    """Whether the classes are more than a simplex in the directions of their means can be."""
    room = geometry.num_features
    if geometry.pairs.exact and geometry.num_classes <= room + 1:
        if not bool((geometry.centred_means != 0).any()):
            return False
        room = occupied(geometry)
    return geometry.num_classes > room + 1


def gnc_cosine(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """Largest cosine of two rows. In [-1, 1], as low as `cosine_bound` for the best code.

    -1/(K-1) for a simplex; for d + 2 ≤ K ≤ 2d no less than 0; beyond as Levenshtein's bound says.
    Zero rows have no direction: ValueError where fewer than two are left. Differentiable where one
    pair alone is largest. Source: Jiang et al. 2024; Rankin 1955, Levenshtein (remembered).
    """
    largest = _of_pairs(geometry, which).largest
    if largest is None:
        raise ValueError("a largest cosine is over all pairs, and past the pair budget some are")
    return largest.max().clamp(-1, 1)


def gnc_margin(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """min_k dist(u_k, conv{u_j : j ≠ k}), the margin that a softmax code maximises.

    In [0, 2]; a simplex reaches K/(K-1), K > d + 1 rows at most 1, and 1 for d + 2 ≤ K ≤ 2d. Per
    class a non-negative least-squares problem over its nearest rows, checked against all others and
    widened until none lies nearer: exact to 1e-10. It is at least 1 - c and at most √(2 - 2c), c
    the largest cosine: classes that these bounds clear are not solved, and past K (d + 1)² = 5e6
    and 2,048 classes the two are said in a ValueError. Source: Jiang et al. 2024.
    """
    rows = rows_of(geometry, which)
    d = occupied(geometry, which)
    largest = _of_pairs(geometry, which).largest
    costly = len(rows) * (d + 1) ** 2 > MARGIN_COST or len(rows) > LARGEST_GRAM
    if largest is None or costly:
        said = ""
        if largest is not None:
            top = float(largest.max())
            high = max(0.0, 2 - 2 * top) ** 0.5
            said = f"; by the largest cosine it lies between {1 - top:.4g} and {high:.4g}"
        raise ValueError(
            f"the exact margin of {len(rows)} classes in {d} directions takes as many quadratic "
            f"programs, more than are solved here{said}"
        )
    whole = rows.part(slice(None))
    unit = whole / rows.norms[:, None]
    plain = unit.detach().cpu().numpy()
    found: tuple[float, int, Any, Any] | None = None
    lower = (1 - largest).detach()
    for k in lower.argsort().tolist():
        if found is not None and float(lower[k]) >= found[0]:
            break
        margin, others, share = _nearest(plain, k, d)
        if found is None or margin < found[0]:
            found = margin, k, others, share
    assert found is not None
    _, k, others, share = found
    # The nearest point moves along its face only: shares are constants of the derivative.
    point = torch.from_numpy(share).to(unit) @ unit[torch.from_numpy(others)]
    square = ((unit[k] - point) ** 2).sum()
    return torch.where(square > 0, square.clamp_min(torch.finfo(square.dtype).tiny).sqrt(), 0.0)


def gnc_uniformity(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """Mean of log(1/‖u_i - u_j‖) over pairs. At least `uniformity_bound`, which a simplex and a
    cross-polytope reach; about -½ log 2 for random directions; infinite where two coincide.

    Source: GNC2 of Wu & Papyan 2024 without its spread, which `of_pairs` has beside it.
    """
    pairs = geometry.pairs
    if isinstance(pairs, SampledPairs):
        return pairs.logarithm(which)
    return _of_pairs(geometry, which)["log"].mean


def gnc_frame(geometry: Geometry, which: str = "means") -> Float[Tensor, ""]:
    """(d/K²) Σ_ij cos²_ij - 1, the excess of the frame potential over its least value K²/d.

    In [0, d - 1], 0 for a tight frame: unit rows that use all d directions alike, as a simplex, a
    cross-polytope and an icosahedron do. From a d × d sum for any number of classes. Source:
    Benedetto, Fickus 2003 (remembered, not read).
    """
    rows = rows_of(geometry, which)
    K, d = len(rows), occupied(geometry, which)
    return d / K**2 * rows.unit_square - 1


def cosine_floor(num_classes: int, num_features: int) -> float:
    """The bound of `gnc_cosine`."""
    return cosine_bound(num_classes, num_features)[0]


def margin_ceiling(num_classes: int, num_features: int) -> float:
    """The largest `gnc_margin` that d directions allow."""
    if num_features == 1 and num_classes > 2:
        return 0.0
    return margin_bound(num_classes, num_features)[0]


@dataclass(frozen=True)
class ZeroSums:
    """Groups of classes whose directions balance. expected: K - d, how many the best code of
    d + 2 ≤ K ≤ 2d has; groups: those found, each with its residual ‖Σ x_k u_k‖, Σ x_k = 1, x ≥ 0.
    """

    expected: int
    groups: tuple[tuple[int, ...], ...]
    residuals: tuple[float, ...]


def zero_sums(geometry: Geometry, which: str = "means", tolerance: float = 0.1) -> ZeroSums:
    """The positive zero sums of d + 2 ≤ K ≤ 2d rows: what the best codes there have in common.

    A code with no positive cosine splits the d directions into orthogonal pieces, K - d of which
    hold one vector more than they have dimensions and a positive combination of these that is zero.
    Which pieces is free, so no one frame is compared with. Rows are of one piece where cosines
    below -tolerance connect them; a piece counts where its residual is at most the tolerance.
    Raises ValueError outside d + 2 ≤ K ≤ 2d and past 2,048 classes. Source: classical, derived.
    """
    from scipy.optimize import nnls
    from scipy.sparse.csgraph import connected_components

    rows = rows_of(geometry, which)
    K, d = len(rows), occupied(geometry, which)
    if not d + 2 <= K <= 2 * d or K > LARGEST_GRAM:
        raise ValueError(
            f"{K} classes in {d} directions; zero sums are what codes of d + 2 to 2d classes have "
            f"in common, up to {LARGEST_GRAM} of them"
        )
    unit = (rows.part(slice(None)) / rows.norms[:, None]).detach().cpu().numpy()
    number, piece = connected_components(unit @ unit.T < -tolerance, directed=False)
    groups, residuals = [], []
    for place in range(number):
        mine = np.flatnonzero(piece == place)
        if len(mine) < 2:
            continue
        target = np.append(np.zeros(unit.shape[1]), 1.0)
        share, _ = nnls(np.vstack([unit[mine].T, np.ones(len(mine))]), target)
        residual = float(np.linalg.norm(share @ unit[mine]) / share.sum())
        if residual <= tolerance:
            groups.append(tuple(int(k) for k in mine))
            residuals.append(residual)
    return ZeroSums(K - d, tuple(groups), tuple(residuals))


def _of_pairs(geometry: Geometry, which: str) -> OfPairs:
    """One pass serves cosine, margin and uniformity."""
    known: dict[str, OfPairs] = geometry.__dict__.setdefault("_of_pairs", {})
    if which not in known:
        if isinstance(geometry.pairs, SampledPairs):
            raise ValueError("past the pair budget not all pairs of classes are looked at")
        known[which] = of_pairs(rows_of(geometry, which), {"log": log_kernel})
    return known[which]


def _nearest(unit: Any, k: int, d: int) -> tuple[float, Any, Any]:
    """(distance of row k to the hull of all others, rows of its nearest point, their shares)."""
    from scipy.optimize import nnls

    cosines = unit @ unit[k]
    cosines[k] = -np.inf
    size = min(len(unit) - 1, d + 1)
    active = np.argpartition(-cosines, size - 1)[:size]
    target = np.append(np.zeros(unit.shape[1]), 1.0)
    while True:
        # min_{x≥0} ‖Px‖² + (1ᵀx - 1)² is reached at a multiple of the nearest point's shares.
        apart = unit[active] - unit[k]
        share, _ = nnls(
            np.vstack([apart.T, np.ones(len(active))]), target, maxiter=50 * len(active)
        )
        share = share / share.sum()
        point = share @ apart
        margin = float(np.linalg.norm(point))
        if margin < NEAREST:
            return 0.0, active, share
        # Every point of the hull lies at least so far along the direction of the nearest one.
        along = (unit - unit[k]) @ (point / margin)
        along[k] = np.inf
        along[active] = np.inf
        nearer = np.flatnonzero(along < margin - NEAREST)
        if not len(nearer):
            return margin, active, share
        kept = share > 0
        best = nearer[np.argsort(along[nearer])[:size]]
        active = np.concatenate([active[kept], best])
