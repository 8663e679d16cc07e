"""Kernels of distances over all pairs of rows, tile by tile: no matrix of rows × rows is kept.

For rows r_i with lengths ‖r_i‖ and directions u_i one product a tile gives q = ‖u_i - u_j‖² and
‖r_i - r_j‖² = (‖r_i‖ - ‖r_j‖)² + ‖r_i‖ ‖r_j‖ q, a sum of terms that cannot cancel. Where rows are
near each other q itself would cancel (2 - 2 cos), so near pairs are formed of differences in
float64. Many rows run in float32 with sums in float64, tiles of very near ones in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.pairs.rows import TINY, Rows
from ncollapse.pairs.sums import SINGLE_PRECISION_FROM, Progress, tiles

KERNELS = ("log", "riesz", "rbf")
# The Gaussian kernel is exp(-t q): t of the uniformity of hyperspheres (Wang, Isola 2020).
SCALE = 2.0
# Below these q is formed of differences: 2 - 2 cos is wrong there by more than 1e-6, or 1e-10.
NEAR = {torch.float32: 0.25, torch.float64: 1e-6}
# A float32 tile with a larger share of near pairs, or with nearer ones, is formed in float64.
MOST_NEAR, NEAREST = 0.02, 1e-12
SOME = 4096


@dataclass(frozen=True, eq=False)
class KernelSums:
    """What one pass over the pairs of K rows tells; float64, ddof 0.

    means, variations: by kernel of d = ‖u_i - u_j‖, a variation being standard deviation over mean.
    log: log 1/d. rbf: exp(-2d²). riesz: d⁻ˢ, which leaves every range: its mean is given as its
    logarithm over s.
    log_distance: mean of log ‖r_i - r_j‖². inverse, inverse_square: Σ_{j≠i} of ‖r_i - r_j‖⁻² and ⁻⁴
    per row. Infinite where rows coincide.
    """

    means: dict[str, Float[Tensor, ""]]
    variations: dict[str, Float[Tensor, ""]]
    log_distance: Float[Tensor, ""]
    inverse: Float[Tensor, " rows"]
    inverse_square: Float[Tensor, " rows"]


def riesz_power(num_features: int) -> float:
    """s = d - 2, with which the Riesz kernel is harmonic; 1 for d < 4, where it would be no kernel
    of distance or its limit."""
    return float(num_features - 2) if num_features > 3 else 1.0


def kernel_values(name: str, q: Tensor) -> Tensor:
    """The kernel of squared distances q of unit rows. log: -½ log q. rbf: exp(-2q)."""
    return torch.exp(-SCALE * q) if name == "rbf" else -0.5 * q.log()


def kernel_sums(
    rows: Rows,
    *,
    power: float | None = None,
    single: bool | None = None,
    progress: Progress | None = None,
) -> KernelSums:
    """All kernels of `rows` in one pass: K²d multiplications and about 20 operations a pair.

    power: s of the Riesz kernel (`riesz_power`). single: float32 tiles, by default from 4,096 rows
    on, where no derivative is asked for. Differentiable in float64. Raises ValueError for fewer
    than two rows, and where all are zero.
    """
    count, width = rows.matrix.shape
    if count < 2:
        raise ValueError(f"{count} row given; kernels of pairs need at least two rows")
    longest = rows.norms.detach().max()
    if not bool(longest > 0):
        raise ValueError("all rows are zero, and have no directions to compare")
    if single is None:
        single = count >= SINGLE_PRECISION_FROM and not rows.matrix.requires_grad
    s = riesz_power(width) if power is None else power
    unit = partial(_unit, rows)
    total = _zero(rows)
    for part, _ in rows.blocks():
        total = total + unit(part).sum(0)
    mean = ((total**2).sum() - count) / (count * (count - 1))
    sums = _Sums(rows, longest, (2 - 2 * mean.detach()).clamp_min(1e-3), s)
    narrow = _narrow(rows, unit) if single else None
    blocks = -(-count // 1024)
    for done, (i, j) in enumerate(tiles(count)):
        if progress is not None:
            progress("pairs of classes", done, blocks * (blocks + 1) // 2)
        if narrow is None or not sums.take(i, j, narrow[i], narrow[j]):
            sums.take(i, j, unit(i), unit(j))
    return sums.result()


def _unit(rows: Rows, part: slice) -> Tensor:
    return rows.part(part) / rows.norms[part].clamp_min(TINY)[:, None]


def _zero(rows: Rows) -> Tensor:
    return torch.zeros(rows.matrix.shape[1], dtype=torch.float64)


def _narrow(rows: Rows, unit: Callable[[slice], Tensor]) -> Tensor:
    found = torch.empty(rows.matrix.shape, dtype=torch.float32)
    for part, _ in rows.blocks():
        found[part] = unit(part)
    return found


class _Sums:
    """Sums over tiles, about the values at the mean cosine: equal distances give variations of 0
    and no difference of squares."""

    def __init__(self, rows: Rows, longest: Tensor, middle: Tensor, power: float) -> None:
        self.rows, self.longest, self.power = rows, longest, power
        self.middle, self.log_middle = float(middle), math.log(float(middle))
        self.norms = rows.norms / longest
        zero = torch.zeros((), dtype=torch.float64)
        self.log, self.log_square, self.rbf, self.rbf_square = zero, zero, zero, zero
        self.log_distance = zero
        endless = torch.tensor(-torch.inf, dtype=torch.float64)
        self.riesz, self.riesz_square = endless, endless
        self.inverse = torch.zeros(len(rows), dtype=torch.float64)
        self.inverse_square = torch.zeros(len(rows), dtype=torch.float64)

    def take(self, i: slice, j: slice, left: Tensor, right: Tensor) -> bool:
        """Add a tile; False, with nothing added, where float32 cannot carry it."""
        single = left.dtype == torch.float32
        q = 2 - 2 * left @ right.T
        own = torch.eye(len(left), dtype=torch.bool) if i.start == j.start else None
        if own is not None:
            q = q.masked_fill(own, 1.0)
        a, b = self.norms[i].to(q.dtype)[:, None], self.norms[j].to(q.dtype)[None]
        limit = NEAR[q.dtype]
        near: Tensor | None = None
        if bool(q.detach().min() < limit):
            near = (q.detach() < limit).nonzero()
            if single and len(near) > MOST_NEAR * q.numel():
                return False
            apart, angles = self._exact(i, j, near)
            if single and bool(torch.minimum(apart, angles).min() < NEAREST):
                return False
            q = _put(q, near, angles)
        d = (a - b) ** 2 + a * b * q
        if near is not None:
            d = _put(d, near, apart)
        if own is not None:
            # Each pair stands twice here, and each row meets itself.
            d = d.masked_fill(own, 1.0)
        self._add(i, j, q, d, own)
        return True

    def _exact(self, i: slice, j: slice, near: Tensor) -> tuple[Tensor, Tensor]:
        """‖r_i - r_j‖², in the longest row's units, and ‖u_i - u_j‖² of some pairs."""
        distances, angles = [], []
        matrix, norms = self.rows.matrix, self.rows.norms.clamp_min(TINY)
        for part in near.split(SOME):
            first, second = part[:, 0] + i.start, part[:, 1] + j.start
            one, other = matrix[first], matrix[second]
            distances.append((((one - other) / self.longest) ** 2).sum(1))
            if self.rows.centre is not None:
                one, other = one - self.rows.centre, other - self.rows.centre
            gap = one / norms[first, None] - other / norms[second, None]
            angles.append((gap**2).sum(1))
        return torch.cat(distances), torch.cat(angles)

    def _add(self, i: slice, j: slice, q: Tensor, d: Tensor, own: Tensor | None) -> None:
        weight = None if own is None else 0.5 * (~own).to(q.dtype)

        def total(tile: Tensor) -> Tensor:
            tile = tile if weight is None else weight * tile
            return tile.sum(1).to(torch.float64).sum()

        gap = q.log() - self.log_middle
        self.log = self.log + total(gap)
        self.log_square = self.log_square + total(gap * gap)
        away = torch.expm1(-SCALE * (q - self.middle))
        self.rbf = self.rbf + total(away)
        self.rbf_square = self.rbf_square + total(away * away)
        # ‖·‖⁻ˢ relative to the nearest pair of the tile.
        height = gap * (-self.power / 2)
        if own is not None:
            height = height.masked_fill(own, -torch.inf)
        top = height.detach().max()
        if bool(top == torch.inf):
            self.riesz = self.riesz_square = torch.full_like(self.log, torch.inf)
        else:
            size = torch.exp(height - top)
            top = top.to(torch.float64)
            self.riesz = torch.logaddexp(self.riesz, total(size).log() + top)
            both = total(size * size).log() + 2 * top
            self.riesz_square = torch.logaddexp(self.riesz_square, both)
        self.log_distance = self.log_distance + total(d.log())
        near = d.reciprocal()
        if own is not None:
            near = near.masked_fill(own, 0.0)
        for name, tile in (("inverse", near), ("inverse_square", near * near)):
            found = _added(getattr(self, name), i, tile.sum(1))
            setattr(self, name, found if own is not None else _added(found, j, tile.sum(0)))

    def result(self) -> KernelSums:
        count = len(self.rows)
        pairs = count * (count - 1) / 2
        log, rbf = self.log / pairs, self.rbf / pairs
        spread = (self.log_square / pairs - log**2).clamp_min(0)
        width = (self.rbf_square / pairs - rbf**2).clamp_min(0)
        riesz = self.riesz - math.log(pairs)
        ratio = torch.expm1(self.riesz_square - math.log(pairs) - 2 * riesz).clamp_min(0)
        log = log + self.log_middle
        square = float(self.longest) ** 2
        return KernelSums(
            means={
                "log": -log / 2,
                "riesz": riesz / self.power - self.log_middle / 2,
                "rbf": math.exp(-SCALE * self.middle) * (1 + rbf),
            },
            variations={
                "log": _root(spread) / log.abs(),
                "riesz": _root(ratio),
                "rbf": _root(width) / (1 + rbf),
            },
            log_distance=self.log_distance / pairs + math.log(square),
            inverse=self.inverse / square,
            inverse_square=self.inverse_square / square**2,
        )


def _put(tile: Tensor, places: Tensor, values: Tensor) -> Tensor:
    return tile.index_put((places[:, 0], places[:, 1]), values.to(tile.dtype))


def _added(whole: Tensor, part: slice, values: Tensor) -> Tensor:
    if not values.requires_grad and not whole.requires_grad:
        whole[part] += values
        return whole
    return whole.index_add(0, torch.arange(part.start, part.stop), values.to(torch.float64))


def _root(square: Tensor) -> Tensor:
    """√, whose derivative at 0 is taken as 0: there all distances are equal, a minimum."""
    return torch.where(square == 0, 0, square.clamp_min(TINY).sqrt())
