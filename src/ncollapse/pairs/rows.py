"""Rows of a geometry read in blocks: sums over K rows of d numbers without a second copy of them.

What is polynomial in the rows comes from d × d matrices summed over blocks, exactly, for ten
classes as for a vocabulary of 150,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.linalg import add_symmetric, frobenius, mirrored, row_norms, unit_gap

BLOCK = 8192
TINY = torch.finfo(torch.float64).tiny


class Rows:
    """K rows r_k = a_k - centre of a matrix (K, d); the centre may be missing.

    Differentiable in the matrix. `norms` (K), `gram` Σ r rᵀ (d, d), and the same sums of unit rows
    u = r/‖r‖ (zero rows stay zero) are formed once, when first asked for.
    """

    def __init__(
        self, matrix: Float[Tensor, "rows dim"], centre: Float[Tensor, " dim"] | None = None
    ) -> None:
        self.matrix, self.centre = matrix, centre

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def blocks(self) -> Iterator[tuple[slice, Float[Tensor, "some dim"]]]:
        """(which rows, the rows): one block up to 8,192 rows, so that few rows are read at once."""
        for start in range(0, len(self), BLOCK):
            part = slice(start, min(start + BLOCK, len(self)))
            yield part, self.part(part)

    def part(self, part: slice) -> Float[Tensor, "some dim"]:
        """Some of the rows."""
        rows = self.matrix[part]
        return rows if self.centre is None else rows - self.centre

    @cached_property
    def norms(self) -> Float[Tensor, " rows"]:
        return _joined([row_norms(rows) for _, rows in self.blocks()])

    @cached_property
    def gram(self) -> Float[Tensor, "dim dim"]:
        return _gram(rows for _, rows in self.blocks())

    @cached_property
    def _units(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Σ u uᵀ, Σ u, and the sums of ‖u‖² and ‖u‖⁴, which count the rows that are not zero."""
        found: list[tuple[Tensor, Tensor, Tensor]] = []

        def units() -> Iterator[Tensor]:
            for part, rows in self.blocks():
                unit = rows / self.norms[part].clamp_min(TINY)[:, None]
                lengths = row_norms(unit) ** 2
                found.append((unit.sum(0), lengths.sum(), (lengths**2).sum()))
                yield unit

        gram = _gram(units())
        total, squares, fourth = (_added(list(parts)) for parts in zip(*found, strict=True))
        return gram, total, squares, fourth

    @property
    def cosine_variance(self) -> Float[Tensor, ""]:
        """Variance of the cosines over all pairs, by d × d sums; wrong by about 1e-16."""
        gram, total, squares, fourth = self._units
        pairs = len(self) * (len(self) - 1)
        mean = ((total**2).sum() - squares) / pairs
        return ((frobenius(gram) ** 2 - fourth) / pairs - mean**2).clamp_min(0)

    @property
    def unit_square(self) -> Float[Tensor, ""]:
        """Σ cos² over all ordered pairs of rows and each row with itself: ‖Σ u uᵀ‖²_F."""
        return frobenius(self._units[0]) ** 2

    def dots(self, other: Rows) -> Float[Tensor, " rows"]:
        """⟨r_k, s_k⟩ of two sets of as many rows."""
        pairs = zip(self.blocks(), other.blocks(), strict=True)
        return _joined([(mine * theirs).sum(1) for (_, mine), (_, theirs) in pairs])

    def inner(self, other: Rows) -> Float[Tensor, ""]:
        """Σ ⟨r_k, s_k⟩."""
        if other is self:
            return (self.norms**2).sum()
        pairs = zip(self.blocks(), other.blocks(), strict=True)
        return _added([(mine * theirs).sum() for (_, mine), (_, theirs) in pairs])

    def sum(self) -> Float[Tensor, " dim"]:
        """Σ r_k."""
        return _added([rows.sum(0) for _, rows in self.blocks()])

    def gap(self, other: Rows) -> Float[Tensor, ""]:
        """‖R/‖R‖_F - S/‖S‖_F‖_F, the difference formed first, so that small gaps are exact."""
        if len(self) <= BLOCK:
            (_, mine), (_, theirs) = next(self.blocks()), next(other.blocks())
            return unit_gap(mine, theirs)
        left, right = frobenius(self.norms), frobenius(other.norms)
        squares = [
            frobenius(mine / left - theirs / right) ** 2
            for (_, mine), (_, theirs) in zip(self.blocks(), other.blocks(), strict=True)
        ]
        return _added(squares).sqrt()

    def weighted_square(self, weights: Float[Tensor, " rows"]) -> Float[Tensor, ""]:
        """Σ w_k ‖r_k‖²."""
        root = weights.sqrt()
        return _added([((rows * root[part, None]) ** 2).sum() for part, rows in self.blocks()])


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _gram(blocks: Iterator[Tensor]) -> Tensor:
    """Σ RᵀR over blocks R, half of it formed where no derivative is asked for."""
    total: Tensor | None = None
    for rows in blocks:
        if rows.requires_grad:
            return _added([rows.T @ rows, *(more.T @ more for more in blocks)])
        if total is None:
            total = rows.new_zeros(rows.shape[1], rows.shape[1])
        add_symmetric(total, rows)
    assert total is not None
    return mirrored(total)


def _added(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
