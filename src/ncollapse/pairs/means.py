"""Means over pairs of classes: over all of them, or past a budget over pairs drawn at random.

A metric asks the geometry for a mean over pairs and need not know which it gets.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.pairs.kernels import KernelSums, kernel_values
from ncollapse.pairs.rows import BLOCK, TINY, Rows
from ncollapse.pairs.sums import PairSums, tiles

# Up to so many pairs all are read: 60,000 classes, minutes of one core at 1,000 features.
PAIR_BUDGET = 2e9
SAMPLED = 1_000_000
# Numbers of the rows that are looked at together: 2 MB, which stay in a cache.
LOOK = 1 << 18
Progress = Callable[[str, int, int], None]


def pairs_of(num_classes: int) -> float:
    """K(K - 1)/2."""
    return num_classes * (num_classes - 1) / 2


@runtime_checkable
class Pairs(Protocol):
    """Means over the pairs of classes of a geometry, each 0-dimensional."""

    @property
    def exact(self) -> bool:
        """Whether all pairs are read."""
        ...

    def shifted(self, which: str) -> Float[Tensor, ""]:
        """Mean |cos + 1/(K-1)| of centred means ("means") or of the weight's rows ("weight")."""
        ...

    def raw(self, which: str) -> Float[Tensor, ""]:
        """Mean |cos| of raw means ("means") or of the weight's rows ("weight")."""
        ...

    def spread(
        self, traces: Float[Tensor, " classes"], power: int, *, kernels: bool = False
    ) -> Float[Tensor, ""]:
        """Mean of (v_i + v_j)/2 · ‖μ_i - μ_j‖^(-2p); infinite where two means coincide. A class
        without spread adds nothing, even where its mean coincides with another's. kernels: of the
        pass that kernels are read of, where that is wanted too."""
        ...

    def log_spread(self, traces: Float[Tensor, " classes"], power: int) -> Float[Tensor, ""]:
        """Mean of the logarithm of the same; -∞ where a pair has no spread."""
        ...

    def kernel(self, name: str) -> Float[Tensor, ""]:
        """Mean of a kernel of directions of centred means (`ncollapse.pairs.kernels`), of "riesz"
        the logarithm of its mean over s."""
        ...

    def variation(self, name: str) -> Float[Tensor, ""]:
        """Standard deviation of the kernel over its mean's size."""
        ...


@dataclass(frozen=True)
class AllPairs:
    """Every pair, tile by tile (`ncollapse.pairs.sums`); differentiable. means, quartic, weight:
    give the pair sums, kernels those of kernels; each is formed when first asked for."""

    num_classes: int
    means: Callable[[], PairSums]
    quartic: Callable[[], PairSums]
    weight: Callable[[], PairSums]
    kernels: Callable[[], KernelSums]
    exact: bool = True

    def shifted(self, which: str) -> Float[Tensor, ""]:
        return (self.means() if which == "means" else self.weight()).mean_abs_shifted

    def raw(self, which: str) -> Float[Tensor, ""]:
        if which == "weight":
            return self.weight().mean_abs_cosine
        value = self.means().mean_abs_raw
        assert value is not None
        return value

    def spread(
        self, traces: Float[Tensor, " classes"], power: int, *, kernels: bool = False
    ) -> Float[Tensor, ""]:
        if kernels:
            found = self.kernels()
            return self._spread(traces, found.inverse if power == 1 else found.inverse_square)
        sums = (self.means() if power == 1 else self.quartic()).inverse_distance
        assert sums is not None
        return self._spread(traces, sums)

    def _spread(self, traces: Tensor, sums: Tensor) -> Float[Tensor, ""]:
        if not bool(sums.isfinite().all()):
            return torch.full((), torch.inf, dtype=torch.float64)
        pairs = self.num_classes * (self.num_classes - 1)
        # The mean over pairs is Σ v_i r_i/(K(K-1)), r_i = Σ_j ‖μ_i - μ_j‖^(-2p).
        return torch.where(traces > 0, traces * sums, 0.0).sum() / pairs

    def log_spread(self, traces: Float[Tensor, " classes"], power: int) -> Float[Tensor, ""]:
        total = traces.new_zeros(())
        for i, j in tiles(len(traces)):
            logs = ((traces[i, None] + traces[j]) / 2).log()
            total = total + (logs.triu(1) if i.start == j.start else logs).sum()
        return total / pairs_of(self.num_classes) - power * self.kernels().log_distance

    def kernel(self, name: str) -> Float[Tensor, ""]:
        return self.kernels().means[name]

    def variation(self, name: str) -> Float[Tensor, ""]:
        return self.kernels().variations[name]


class SampledPairs:
    """Pairs drawn at random. `errors` gives standard errors in the place of the means: a metric is
    proportional to the mean that it reads, so on them it returns its own standard error."""

    exact = False

    def __init__(
        self,
        means: Rows,
        raw: Rows,
        weight: Rows | None,
        *,
        number: int = SAMPLED,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self._means, self._raw, self._weight = means, raw, weight
        self.number, self.seed, self.progress = number, seed, progress
        self._errors = False

    @property
    def errors(self) -> SampledPairs:
        found = copy.copy(self)
        found.__dict__["_sample"] = self._sample
        found._errors = True
        return found

    def shifted(self, which: str) -> Float[Tensor, ""]:
        cosines = self._sample["cosine" if which == "means" else "weight"]
        return self._mean((cosines + 1 / (len(self._raw) - 1)).abs())

    def raw(self, which: str) -> Float[Tensor, ""]:
        return self._mean(self._sample["raw" if which == "means" else "weight"].abs())

    def spread(
        self, traces: Float[Tensor, " classes"], power: int, *, kernels: bool = False
    ) -> Float[Tensor, ""]:
        first, second = self._drawn
        spread = (traces[first] + traces[second]) / 2
        return self._mean(torch.where(spread > 0, spread / self._sample["square"] ** power, 0.0))

    def log_spread(self, traces: Float[Tensor, " classes"], power: int) -> Float[Tensor, ""]:
        first, second = self._drawn
        spread = (traces[first] + traces[second]) / 2
        return self._mean(spread.log() - power * self._sample["square"].log())

    def kernel(self, name: str) -> Float[Tensor, ""]:
        return self._mean(self._kernel(name))

    def variation(self, name: str) -> Float[Tensor, ""]:
        size = self._kernel(name)
        mean, spread = size.mean(), size.std(correction=0)
        value = spread / mean.abs()
        if not self._errors:
            return value
        # Influences of single pairs on σ/|μ|.
        away = size - mean
        influence = value * ((away / spread) ** 2 / 2 - away / mean)
        return influence.std() / math.sqrt(size.numel())

    def _kernel(self, name: str) -> Tensor:
        """Of the drawn pairs. Raises ValueError for "riesz"."""
        if name == "riesz":
            raise ValueError("the nearest of all pairs rule the Riesz kernel, and drawn ones miss")
        return kernel_values(name, self._sample["apart"])

    def _mean(self, sample: Tensor) -> Tensor:
        return sample.std() / math.sqrt(sample.numel()) if self._errors else sample.mean()

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor]:
        K = len(self._raw)
        generator = torch.Generator().manual_seed(self.seed + 3)
        first = torch.randint(0, K, (self.number,), generator=generator)
        # A shift by 1..K-1 gives every other class the same chance.
        shift = torch.randint(1, K, (self.number,), generator=generator)
        return first, (first + shift) % K

    @cached_property
    def _sample(self) -> dict[str, Tensor]:
        """Of every drawn pair: ‖μ_i - μ_j‖², ‖u_i - u_j‖² of the directions of centred means, and
        cosines of centred means, raw means and weight rows; one look at the rows serves all."""
        first, second = self._drawn
        means, raw, weight = self._means, self._raw, self._weight
        kinds = ("cosine", "raw", "square", "apart", *(() if weight is None else ("weight",)))
        found = {kind: torch.empty(self.number, dtype=torch.float64) for kind in kinds}
        size = max(1, min(BLOCK, LOOK // raw.matrix.shape[1]))
        for start in range(0, self.number, size):
            part = slice(start, min(start + size, self.number))
            if self.progress is not None:
                self.progress("pairs of classes", start, self.number)
            i, j = first[part], second[part]
            left, right = raw.matrix[i], raw.matrix[j]
            found["raw"][part] = _cosine(left, right, raw.norms[i] * raw.norms[j])
            found["square"][part] = ((left - right) ** 2).sum(1)
            assert means.centre is not None
            left, right = left - means.centre, right - means.centre
            found["cosine"][part] = _cosine(left, right, means.norms[i] * means.norms[j])
            left = left / means.norms[i].clamp_min(TINY)[:, None]
            right = right / means.norms[j].clamp_min(TINY)[:, None]
            found["apart"][part] = ((left - right) ** 2).sum(1)
            if weight is not None:
                lengths = weight.norms[i] * weight.norms[j]
                found["weight"][part] = _cosine(weight.matrix[i], weight.matrix[j], lengths)
        return found


def _cosine(left: Tensor, right: Tensor, lengths: Tensor) -> Tensor:
    """Cosines of rows whose lengths multiply to `lengths`; 0 for a zero row."""
    return (left * right).sum(1) / lengths.clamp_min(TINY)
