"""How evenly directions cover the sphere: kernels of pair distances, over blocks of unit rows.

With unit rows û_i and r_ij = ‖û_i - û_j‖ a kernel k is read by its mean and its spread over the
pairs i < j. The mean falls as directions spread over the sphere, and the spread is 0 where all
pairs are alike, as in a simplex. `log_kernel` and `riesz` are GNC2 of Wu & Papyan 2024; the log of
the mean of `rbf` is the uniformity of Wang & Isola 2020 (remembered, not read).

    of_pairs(Rows(matrix, centre), {"log": log_kernel, "rbf": rbf})["log"].mean

One pass over tiles serves all kernels and the largest cosine of every row; no rows × rows matrix is
kept. Past `PAIR_BUDGET` pairs, or with `number`, pairs are drawn at random instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ncollapse.pairs.means import PAIR_BUDGET, SAMPLED, pairs_of
from ncollapse.pairs.rows import Rows
from ncollapse.pairs.sums import (
    CLOSE_DOUBLE,
    CLOSE_SINGLE,
    SINGLE_PRECISION_FROM,
    TILE,
    Progress,
    tiles,
)

# A kernel reads squared distances, of any shape.
Kernel = Callable[[Tensor], Tensor]


def log_kernel(square: Float[Tensor, "*pairs"]) -> Float[Tensor, "*pairs"]:
    """log(1/r) of squared distances r². Of unit rows ≥ -log 2; infinite where two coincide.

    K rows of a simplex read -½ log(2K/(K-1)) at every pair, the least mean of any K rows: the
    kernel is convex and increasing in the cosine, whose mean is at least -1/(K-1).
    Source: Wu & Papyan 2024.
    """
    return -0.5 * square.log()


def rbf(square: Float[Tensor, "*pairs"], t: float = 2.0) -> Float[Tensor, "*pairs"]:
    """exp(-t r²) of squared distances r². In (0, 1]. Raises ValueError for t ≤ 0.

    Source: Wang & Isola 2020 with t = 2 (remembered, not read)."""
    if not t > 0:
        raise ValueError(f"t={t}; a positive number is needed")
    return (-t * square).exp()


def riesz(square: Float[Tensor, "*pairs"], s: float = 1.0) -> Float[Tensor, "*pairs"]:
    """sign(s) r^(-s) of squared distances r², in float64. Infinite where two rows coincide.

    s = d - 2 is harmonic on the sphere of d dimensions; from a few hundred dimensions on it
    leaves float32, and where rows are close float64 too. Raises ValueError for s = 0, whose limit
    is `log_kernel`. Source: Wu & Papyan 2024.
    """
    if s == 0 or not math.isfinite(s):
        raise ValueError(f"s={s}; a finite number other than 0 is needed, 0 is log_kernel")
    return math.copysign(1.0, s) * square.to(torch.float64) ** (-s / 2)


@dataclass(frozen=True, eq=False)
class Moments:
    """A kernel over pairs of rows: mean and standard deviation (ddof 0), over `pairs` pairs.

    error: standard error of the mean, 0 where all pairs were read."""

    mean: Float[Tensor, ""]
    std: Float[Tensor, ""]
    pairs: int
    error: float = 0.0

    @property
    def variation(self) -> Float[Tensor, ""]:
        """std/|mean|: 0 where all pairs are alike."""
        return self.std / self.mean.abs()


@dataclass(frozen=True, eq=False)
class OfPairs:
    """What one pass tells. kernels: by the names they were given. largest: of every row the
    largest cosine with another; None where pairs were drawn. kept: which rows have a direction:
    zero rows are left out, with their pairs."""

    kernels: dict[str, Moments]
    largest: Float[Tensor, " kept"] | None
    kept: Bool[Tensor, " rows"]

    def __getitem__(self, name: str) -> Moments:
        return self.kernels[name]


def of_pairs(
    rows: Rows,
    kernels: Mapping[str, Kernel],
    *,
    number: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> OfPairs:
    """Moments of `kernels` over the pairs of unit rows, and each row's largest cosine.

    rows (K, d), with their centre where they have one. number: of pairs drawn at random by `seed`;
    None reads all, or 1,000,000 past `PAIR_BUDGET` pairs. Cost K² d/2 multiplications, in float32
    from 4,096 rows on with the close pairs recomputed in float64. Differentiable up to there.
    Raises ValueError for fewer than two rows that are not zero.
    """
    norms = rows.norms
    kept = norms > 0
    count = int(kept.sum())
    if count < 2:
        raise ValueError(
            f"{count} of {len(rows)} rows have a direction; pairs need at least two rows that are "
            "not zero"
        )
    whole = rows.part(slice(None))
    unit = whole / norms[:, None] if count == len(rows) else whole[kept] / norms[kept][:, None]
    if number is None and pairs_of(count) > PAIR_BUDGET:
        number = SAMPLED
    if number is not None:
        return OfPairs(_drawn(unit, kernels, number, seed, progress), None, kept)
    sums = _Sums(unit, kernels)
    best = unit.new_full((count,), torch.inf)
    blocks = -(-count // TILE)
    for done, (i, j, square) in enumerate(_tiles(unit)):
        if progress is not None:
            progress("pairs of directions", done, blocks * (blocks + 1) // 2)
        own = i.start == j.start
        sums.add(square, own)
        if own:
            eye = torch.eye(square.shape[0], dtype=torch.bool, device=square.device)
            square = square.masked_fill(eye, torch.inf)
        for part, axis in ((i, 1), (j, 0)):
            index = torch.arange(part.start, part.stop, device=unit.device)
            low = torch.minimum(best[part], square.min(axis).values.to(best.dtype))
            best = best.index_copy(0, index, low)
    return OfPairs(sums.moments(), 1 - best / 2, kept)


class _Sums:
    """Σ (k - k₀) and its square, k₀ the kernel at the mean cosine: alike pairs leave exactly 0."""

    def __init__(self, unit: Tensor, kernels: Mapping[str, Kernel]) -> None:
        count = unit.shape[0]
        mean = ((unit.sum(0) ** 2).sum() - count) / (count * (count - 1))
        # Where all rows coincide but for rounding, any number that a kernel takes will do.
        self.middle = (2 - 2 * mean).clamp_min(1e-12).detach()
        self.kernels, self.count = kernels, count
        self.about = {name: kernel(self.middle) for name, kernel in kernels.items()}
        zero = unit.new_zeros((), dtype=torch.float64)
        self.linear, self.squares = dict.fromkeys(kernels, zero), dict.fromkeys(kernels, zero)

    def add(self, square: Tensor, own: bool) -> None:
        half = 0.5 if own else 1.0
        if own:
            # A row meets itself there: it counts as the middle, which adds nothing.
            eye = torch.eye(square.shape[0], dtype=torch.bool, device=square.device)
            square = torch.where(eye, self.middle.to(square.dtype), square)
        for name, kernel in self.kernels.items():
            gap = kernel(square) - self.about[name].to(square.dtype)
            self.linear[name] = self.linear[name] + half * gap.sum(dtype=torch.float64)
            self.squares[name] = self.squares[name] + half * (gap * gap).sum(dtype=torch.float64)

    def moments(self) -> dict[str, Moments]:
        number = int(pairs_of(self.count))
        found = {}
        for name in self.kernels:
            linear = self.linear[name] / number
            variance = (self.squares[name] / number - linear**2).clamp_min(0)
            found[name] = Moments(self.about[name] + linear, _root(variance), number)
        return found


def _tiles(unit: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Squared distances of unit rows tile by tile, close ones from differences in float64."""
    single = unit.shape[0] >= SINGLE_PRECISION_FROM and not unit.requires_grad
    working = unit.to(torch.float32) if single else unit
    limit = 2 * (CLOSE_SINGLE if single else CLOSE_DOUBLE)
    for i, j in tiles(unit.shape[0]):
        square = 2 - 2 * working[i] @ working[j].T
        close = (square.detach() < limit).nonzero()
        if single and close.shape[0] > square.numel() // 50:
            square = 2 - 2 * unit[i] @ unit[j].T
            close = (square < 2 * CLOSE_DOUBLE).nonzero()
        for part in close.split(8192):
            gap = unit[i][part[:, 0]] - unit[j][part[:, 1]]
            square = square.index_put((part[:, 0], part[:, 1]), (gap**2).sum(1).to(square.dtype))
        yield i, j, square


def _drawn(
    unit: Tensor,
    kernels: Mapping[str, Kernel],
    number: int,
    seed: int,
    progress: Progress | None,
) -> dict[str, Moments]:
    """The same of pairs drawn with replacement, each of the K(K - 1)/2 with the same chance."""
    if number < 2:
        raise ValueError(f"number={number}; at least two pairs are needed")
    count = unit.shape[0]
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(0, count, (number,), generator=generator)
    second = (first + torch.randint(1, count, (number,), generator=generator)) % count
    square = torch.empty(number, dtype=torch.float64)
    size = max(1, (1 << 23) // unit.shape[1])
    for start in range(0, number, size):
        if progress is not None:
            progress("pairs of directions", start, number)
        part = slice(start, start + size)
        square[part] = ((unit[first[part]] - unit[second[part]]) ** 2).sum(1)
    found = {}
    for name, kernel in kernels.items():
        values = kernel(square)
        std = values.std(correction=0)
        found[name] = Moments(values.mean(), std, number, float(std) / math.sqrt(number - 1))
    return found


def _root(variance: Tensor) -> Tensor:
    """√ whose derivative at 0 is 0."""
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)
