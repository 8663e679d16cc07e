"""Statistics over all pairs of rows, tile by tile: no matrix of rows × rows is kept.

One pass over the tiles serves every pair statistic of a set of class means or classifier rows:
distances, nearest rows and cosines share the same matrix product. Small sets run in float64 and
are differentiable; large ones run in float32 first, with close pairs recomputed, and are repeated
in float64 when a result is too small for float32 to carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.linalg import row_norms

TILE = 1024
# From here on tiles run in float32: 4,096 rows are 8 million pairs, a second in float64.
SINGLE_PRECISION_FROM = 4096
# A float32 cosine is wrong by about 1e-7; a mean below this is repeated in float64 so that the
# relative error stays under 1e-5.
SMALLEST_SINGLE = 1e-2
# Squared distances below this share of |a|² + |b|² lose digits in |a|² + |b|² - 2ab.
CLOSE_SINGLE, CLOSE_DOUBLE = 5e-2, 1e-6

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class PairSums:
    """What one pass over the pairs of K rows r_i tells.

    mean_abs_cosine: mean |cos|; mean_abs_shifted: mean |cos + 1/(K-1)|; var_cosine: variance of
    cos; mean_abs_raw: mean |cos| of r_i + offset; inverse_distance: Σ_{j≠i} ‖r_i - r_j‖^(-2p) per
    row, p the `power` asked for; nearest, nearest_distance: closest other row and its distance.
    What was not asked for is None, and so is var_cosine when tiles ran in float32.
    """

    mean_abs_cosine: Float[Tensor, ""]
    mean_abs_shifted: Float[Tensor, ""]
    var_cosine: Float[Tensor, ""] | None
    mean_abs_raw: Float[Tensor, ""] | None
    inverse_distance: Float[Tensor, " rows"] | None
    nearest: Int[Tensor, " rows"] | None
    nearest_distance: Float[Tensor, " rows"] | None


def tiles(size: int, tile: int = TILE) -> Iterator[tuple[slice, slice]]:
    """Upper-triangular tiles (row slice, column slice) that cover every pair once."""
    for i in range(0, size, tile):
        for j in range(i, size, tile):
            yield slice(i, min(i + tile, size)), slice(j, min(j + tile, size))


def squared_distances(
    rows: Float[Tensor, "rows dim"], products: Float[Tensor, "rows rows"] | None = None
) -> Float[Tensor, "rows rows"]:
    """‖r_i - r_j‖² of all pairs of few rows, close ones from differences. products: the rows' inner
    products, where they are known."""
    found = rows @ rows.T if products is None else products
    square = found.diagonal()
    total = square[:, None] + square
    found = total - 2 * found
    i, j = (found.detach() < CLOSE_DOUBLE * total.detach()).triu(1).nonzero().T
    for part in torch.arange(i.numel()).split(8192):
        gap = ((rows[i[part]] - rows[j[part]]) ** 2).sum(1)
        found = found.index_put((i[part], j[part]), gap).index_put((j[part], i[part]), gap)
    return found.clamp_min(0)


def pair_sums(
    rows: Float[Tensor, "rows dim"],
    offset: Float[Tensor, " dim"] | None = None,
    *,
    distances: bool = True,
    power: int = 1,
    single: bool | None = None,
    progress: Progress | None = None,
) -> PairSums:
    """All pair statistics of `rows` in one pass over tiles.

    `offset` adds the raw cosines of rows + offset (class means: offset = global mean). Zero rows
    have no direction: their cosines count as 0. Cost K²d multiplications, memory one tile.
    Raises ValueError for fewer than two rows.
    """
    count = rows.shape[0]
    if count < 2:
        raise ValueError(f"{count} row given; pair statistics need at least two rows")
    if single is None:
        single = count >= SINGLE_PRECISION_FROM and not rows.requires_grad
    if single:
        sums = _pass(rows, offset, power if distances else 0, torch.float32, progress)
        values = [sums.mean_abs_cosine, sums.mean_abs_shifted]
        values += [sums.mean_abs_raw] if sums.mean_abs_raw is not None else []
        if min(float(v) for v in values) >= SMALLEST_SINGLE:
            return sums
    return _pass(rows, offset, power if distances else 0, torch.float64, progress)


class _Operand:
    """Rows prepared for tiles: unit rows in the working dtype, norms and offset terms."""

    def __init__(self, rows: Tensor, offset: Tensor | None, dtype: torch.dtype) -> None:
        self.exact = rows.to(torch.float64)
        norms = row_norms(self.exact)
        scale = norms.detach().max().clamp_min(torch.finfo(torch.float64).tiny)
        self.scale = scale
        self.exact = self.exact / scale
        norms = norms / scale
        self.exact_unit = self.exact / torch.where(norms > 0, norms, 1.0)[:, None]
        self.unit = self.exact_unit.to(dtype)
        self.norms = norms.to(dtype)
        self.raw: tuple[Tensor, Tensor, Tensor] | None = None
        if offset is not None:
            shift = offset.to(torch.float64) / scale
            raw_norms = row_norms(self.exact + shift)
            inverse = torch.where(raw_norms > 0, 1 / torch.where(raw_norms > 0, raw_norms, 1.0), 0)
            self.raw = (
                (self.exact @ shift + (shift @ shift) / 2).to(dtype),
                inverse.to(dtype),
                shift,
            )

    def squared_distances(self, i: slice, j: slice, cosines: Tensor) -> Tensor:
        """Tile of ‖r_i - r_j‖² from cosines, with close pairs recomputed from differences."""
        a, b = self.norms[i][:, None], self.norms[j][None]
        total = a**2 + b**2
        result = total - 2 * a * b * cosines
        limit = CLOSE_SINGLE if cosines.dtype == torch.float32 else CLOSE_DOUBLE
        close = (result < limit * total).nonzero()
        if close.shape[0] == 0:
            return result
        if cosines.dtype == torch.float32 and close.shape[0] > cosines.numel() // 50:
            left, right = self.exact[i], self.exact[j]
            squares = (left**2).sum(1)[:, None] + (right**2).sum(1)[None]
            result = squares - 2 * left @ right.T
            close = (result < CLOSE_DOUBLE * squares).nonzero()
        for part in close.split(8192):
            gap = self.exact[i][part[:, 0]] - self.exact[j][part[:, 1]]
            result = result.index_put((part[:, 0], part[:, 1]), (gap**2).sum(1).to(result.dtype))
        return result


def _pass(
    rows: Tensor,
    offset: Tensor | None,
    power: int,
    dtype: torch.dtype,
    progress: Progress | None,
) -> PairSums:
    count = rows.shape[0]
    operand = _Operand(rows, offset, dtype)
    shift = 1.0 / (count - 1)
    # Σ_{i≠j} cos = ‖Σu‖² - Σ‖u‖²: the mean costs one sum of rows, and the variance is then taken
    # about it, so that equal cosines give zero and not a difference of squares.
    unit = operand.exact_unit
    centre = ((unit.sum(0) ** 2).sum() - (unit**2).sum()) / (count * (count - 1))
    zero = rows.new_zeros((), dtype=torch.float64)
    absolute, shifted, linear, squares, raw = zero, zero, zero, zero, zero
    inverse = rows.new_zeros(count, dtype=torch.float64)
    best = rows.new_full((count,), torch.inf, dtype=torch.float64)
    nearest = torch.zeros(count, dtype=torch.int64, device=rows.device)
    blocks = -(-count // TILE)
    for done, (i, j) in enumerate(tiles(count)):
        if progress is not None:
            progress("pairs of classes", done, blocks * (blocks + 1) // 2)
        cosines = operand.unit[i] @ operand.unit[j].T
        diagonal = i.start == j.start
        # On the diagonal tile each pair stands twice and each row meets itself.
        half = 0.5 if diagonal else 1.0
        own = (
            torch.eye(cosines.shape[0], dtype=torch.bool, device=rows.device) if diagonal else None
        )

        def total(tile: Tensor, own: Tensor | None = own, half: float = half) -> Tensor:
            tile = tile.masked_fill(own, 0) if own is not None else tile
            return half * tile.sum(dtype=torch.float64)

        absolute = absolute + total(cosines.abs())
        shifted = shifted + total((cosines + shift).abs())
        if dtype == torch.float64:
            gap = cosines - centre
            linear = linear + total(gap)
            squares = squares + total(gap * gap)
        if operand.raw is not None:
            term, scale, _ = operand.raw
            full = cosines * operand.norms[i][:, None] * operand.norms[j][None]
            full = (full + term[i][:, None] + term[j][None]) * scale[i][:, None] * scale[j][None]
            raw = raw + total(full.abs())
        if power:
            squared = operand.squared_distances(i, j, cosines)
            if own is not None:
                squared = squared.masked_fill(own, torch.inf)
            reciprocal = squared.reciprocal() if power == 1 else squared**-power
            across = [(i, j, 1)] if diagonal else [(i, j, 1), (j, i, 0)]
            for target, source, axis in across:
                inverse = inverse.index_add(0, _index(target, rows), _sum(reciprocal, axis))
                low, where = squared.detach().min(axis)
                better = low < best[target]
                best[target] = torch.where(better, low.to(torch.float64), best[target])
                nearest[target] = torch.where(better, where + source.start, nearest[target])
    number = count * (count - 1) / 2
    variance = (squares / number - (linear / number) ** 2).clamp_min(0)
    length = operand.scale
    return PairSums(
        mean_abs_cosine=absolute / number,
        mean_abs_shifted=shifted / number,
        var_cosine=variance if dtype == torch.float64 else None,
        mean_abs_raw=raw / number if operand.raw is not None else None,
        inverse_distance=inverse / length ** (2 * power) if power else None,
        nearest=nearest if power else None,
        nearest_distance=best.sqrt() * length if power else None,
    )


def _sum(tile: Tensor, axis: int) -> Tensor:
    return tile.sum(axis, dtype=torch.float64)


def _index(part: slice, like: Tensor) -> Tensor:
    return torch.arange(part.start, part.stop, device=like.device)
