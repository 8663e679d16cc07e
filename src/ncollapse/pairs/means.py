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

from ncollapse.pairs.rows import BLOCK, TINY, Rows
from ncollapse.pairs.sums import PairSums

# Up to so many pairs all are read: 60,000 classes, minutes of one core at 1,000 features.
PAIR_BUDGET = 2e9
SAMPLED = 1_000_000
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

    def spread(self, traces: Float[Tensor, " classes"], power: int) -> Float[Tensor, ""]:
        """Mean of (v_i + v_j)/2 · ‖μ_i - μ_j‖^(-2p); infinite where two means coincide. A class
        without spread adds nothing, even where its mean coincides with another's."""
        ...


@dataclass(frozen=True)
class AllPairs:
    """Every pair, tile by tile (`ncollapse.pairs.sums`); differentiable. means, quartic, weight:
    give the pair sums, which are formed when first asked for."""

    num_classes: int
    means: Callable[[], PairSums]
    quartic: Callable[[], PairSums]
    weight: Callable[[], PairSums]
    exact: bool = True

    def shifted(self, which: str) -> Float[Tensor, ""]:
        return (self.means() if which == "means" else self.weight()).mean_abs_shifted

    def raw(self, which: str) -> Float[Tensor, ""]:
        if which == "weight":
            return self.weight().mean_abs_cosine
        value = self.means().mean_abs_raw
        assert value is not None
        return value

    def spread(self, traces: Float[Tensor, " classes"], power: int) -> Float[Tensor, ""]:
        sums = (self.means() if power == 1 else self.quartic()).inverse_distance
        assert sums is not None
        if not bool(sums.isfinite().all()):
            return torch.full((), torch.inf, dtype=torch.float64)
        pairs = self.num_classes * (self.num_classes - 1)
        # The mean over pairs is Σ v_i r_i/(K(K-1)), r_i = Σ_j ‖μ_i - μ_j‖^(-2p).
        return torch.where(traces > 0, traces * sums, 0.0).sum() / pairs


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

    def logarithm(self, which: str) -> Float[Tensor, ""]:
        """Mean of log(1/‖u_i - u_j‖) of unit rows of centred means ("means") or of the weight."""
        cosines = self._sample["cosine" if which == "means" else "weight"]
        return self._mean(-0.5 * (2 - 2 * cosines).clamp_min(0).log())

    def spread(self, traces: Float[Tensor, " classes"], power: int) -> Float[Tensor, ""]:
        first, second = self._drawn
        spread = (traces[first] + traces[second]) / 2
        return self._mean(torch.where(spread > 0, spread / self._sample["square"] ** power, 0.0))

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
        """Of every drawn pair: ‖μ_i - μ_j‖², and cosines of centred means, raw means and weight
        rows; one look at the rows serves all."""
        first, second = self._drawn
        means, raw, weight = self._means, self._raw, self._weight
        kinds = ("cosine", "raw", "square", *(() if weight is None else ("weight",)))
        found = {kind: torch.empty(self.number, dtype=torch.float64) for kind in kinds}
        size = max(1, min(BLOCK, (1 << 23) // raw.matrix.shape[1]))
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
            if weight is not None:
                lengths = weight.norms[i] * weight.norms[j]
                found["weight"][part] = _cosine(weight.matrix[i], weight.matrix[j], lengths)
        return found


def _cosine(left: Tensor, right: Tensor, lengths: Tensor) -> Tensor:
    """Cosines of rows whose lengths multiply to `lengths`; 0 for a zero row."""
    return (left * right).sum(1) / lengths.clamp_min(TINY)
