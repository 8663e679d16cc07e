"""Geometry: class means, classifier weights and bias, class counts.

The one noun of the library. It is measured from data, predicted by theory and imposed by a head,
and the same functions read all three. Raw means are stored; every norm and cosine is of the means
centred on the mean of class means, raw ones are named `raw_*`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.figures import Shown, as_json
from ncollapse.linalg import (
    EPSILON,
    Factor,
    Spectrum,
    complement,
    factored,
    gram_gap,
    hull_distances,
    rotation,
    row_norms,
    spectrum,
)
from ncollapse.linalg import LARGEST_GRAM as LARGEST_GRAM
from ncollapse.pairs.kernels import KernelSums, kernel_sums
from ncollapse.pairs.means import SAMPLED, AllPairs, Pairs, Progress, SampledPairs
from ncollapse.pairs.rows import Rows
from ncollapse.pairs.sums import PairSums, pair_sums

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("means", "weight", "bias", "counts")


@dataclass(frozen=True)
class Distance:
    """How far two geometries are apart: root mean square over `blocks`; `left_out` names those
    that one side lacks."""

    value: float
    blocks: dict[str, float]
    left_out: tuple[str, ...]

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True, eq=False)
class Geometry(Shown):
    """Class means (K, d), weight (K, d), bias (K), counts (K), in float64; each may be missing.

    reads (r, d): orthonormal rows, the directions that the weight behind these features reads most,
    the strongest first; of one layer among several, where that weight is known. Frozen and shared:
    pair statistics are computed once and kept. Raises ValueError when neither means nor weight are
    given or when shapes disagree.
    """

    means: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    counts: Tensor | None = None
    reads: Tensor | None = None

    def __post_init__(self) -> None:
        if self.means is None and self.weight is None:
            raise ValueError("nothing was given; a Geometry needs class means, a weight or both")
        sizes = {}
        for name in PARTS:
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, Tensor):
                value = torch.as_tensor(value)
                object.__setattr__(self, name, value)
            rows = name in ("means", "weight")
            if value.dim() != 1 + rows:
                form = "(classes, dim)" if rows else "(classes)"
                raise ValueError(f"{name} has shape {tuple(value.shape)}; {form} is needed")
            sizes[name] = value.shape[0]
            if name != "counts" and value.dtype != torch.float64:
                object.__setattr__(self, name, value.to(torch.float64))
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ValueError(f"the numbers of classes disagree ({found}); one K is needed in all")
        if self.num_classes < 2:
            raise ValueError(f"{self.num_classes} class given; a geometry needs at least 2")
        if (
            self.means is not None
            and self.weight is not None
            and self.means.shape[1] != self.weight.shape[1]
        ):
            raise ValueError(
                f"means have {self.means.shape[1]} features and weight {self.weight.shape[1]}; "
                "both need the width that enters the classifier: take them of one layer"
            )

    # ---- makers -------------------------------------------------------------------------------
    @classmethod
    def from_means(
        cls,
        means: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> Geometry:
        """Geometry of given raw class means, with what else is known."""
        return cls(means, weight, bias, counts)

    @classmethod
    def simplex_etf(cls, num_classes: int, num_features: int, *, seed: int = 0) -> Geometry:
        """Simplex equiangular tight frame: K unit rows with cosines -1/(K-1), sum zero, W = M.

        Rows are √(K/(K-1)) times an orthonormal basis of 1⊥, rotated into d dimensions by a
        seeded rotation. Needs d ≥ K - 1, else ValueError. Source: Papyan, Han, Donoho 2020.
        """
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; a simplex frame needs at least 2")
        if num_features < num_classes - 1:
            raise ValueError(
                f"num_features={num_features} cannot hold a simplex of {num_classes} classes; "
                f"at least {num_classes - 1} are needed"
            )
        scale = (num_classes / (num_classes - 1)) ** 0.5
        rows = (
            scale
            * complement(torch.full((num_classes,), num_classes**-0.5, dtype=torch.float64))
            @ rotation(num_classes - 1, num_features, seed)
        )
        return cls(means=rows, weight=rows.clone())

    @classmethod
    def orthogonal(
        cls, lengths: Sequence[float] | Tensor, num_features: int | None = None, *, seed: int = 0
    ) -> Geometry:
        """General orthogonal frame: pairwise orthogonal raw rows of the given lengths, W = M.

        Equal lengths give the orthogonal frame of bias-free MSE (NC2B); unequal ones the general
        orthogonal frame of imbalanced data. Needs d ≥ K (default d = K), else ValueError.
        Source: Zhou et al. 2022 (equal lengths), Dang et al. 2023 (general).
        """
        sizes = torch.as_tensor(lengths, dtype=torch.float64)
        count = sizes.numel()
        width = count if num_features is None else num_features
        if width < count:
            raise ValueError(
                f"num_features={width} cannot hold {count} orthogonal classes; at least {count} "
                "are needed"
            )
        rows = sizes[:, None] * rotation(count, width, seed)
        return cls(means=rows, weight=rows.clone())

    # ---- plain readings -----------------------------------------------------------------------
    @property
    def num_classes(self) -> int:
        return int((self.means if self.means is not None else self._weight).shape[0])

    @property
    def num_features(self) -> int:
        return int((self.means if self.means is not None else self._weight).shape[1])

    @property
    def _means(self) -> Tensor:
        if self.means is None:
            raise ValueError("this geometry holds no class means; build it with means=…")
        return self.means

    @property
    def _weight(self) -> Tensor:
        if self.weight is None:
            raise ValueError("this geometry holds no classifier weight; build it with weight=…")
        return self.weight

    @cached_property
    def global_mean(self) -> Float[Tensor, " dim"]:
        """Mean of class means (macro), whatever the counts."""
        return self._means.mean(0)

    @cached_property
    def centred_means(self) -> Float[Tensor, "classes dim"]:
        """M: class means minus the mean of class means."""
        return self._means - self.global_mean

    @cached_property
    def between_spectrum(self) -> Spectrum:
        """Right singular pairs of M/√K, so that Σ_B = V diag(s²) Vᵀ; rank min(d, K - 1) at most."""
        rank = min(self.num_features, self.num_classes - 1)
        return spectrum(self.centred_means / self.num_classes**0.5, rank)

    @cached_property
    def between(self) -> Factor:
        """Σ_B = FᵀF of the centred means, classes weighed alike. Raises ValueError where all class
        means coincide."""
        K = self.num_classes
        unit = torch.full((K,), K**-0.5, dtype=torch.float64)
        return factored(self.centred_means / K**0.5, unit)

    @cached_property
    def centred_weight(self) -> Float[Tensor, "classes dim"]:
        """Weight minus its mean over classes."""
        return self._weight - self._weight.mean(0)

    # ---- rows and pairs -----------------------------------------------------------------------
    @cached_property
    def mean_rows(self) -> Rows:
        """The centred means in blocks."""
        return Rows(self._means, self.global_mean)

    @cached_property
    def raw_rows(self) -> Rows:
        """The raw means in blocks."""
        return Rows(self._means)

    @cached_property
    def weight_rows(self) -> Rows:
        """The classifier's rows in blocks."""
        return Rows(self._weight)

    @cached_property
    def centred_weight_rows(self) -> Rows:
        """The classifier's rows minus their mean, in blocks."""
        return Rows(self._weight, self._weight.mean(0))

    @property
    def pairs(self) -> Pairs:
        """Means over the pairs of classes: all of them, or those that `sampled` draws."""
        drawn: SampledPairs | None = self.__dict__.get("sampled_pairs")
        return drawn or AllPairs(
            self.num_classes,
            lambda: self.mean_pairs,
            lambda: self.quartic_pairs,
            lambda: self.weight_pairs,
            lambda: self.kernel_pairs,
        )

    def sampled(
        self, number: int = SAMPLED, *, seed: int = 0, progress: Progress | None = None
    ) -> Geometry:
        """The same geometry, its means over pairs those of `number` pairs drawn at random: for more
        classes than all pairs can be read of."""
        weight = None if self.weight is None else self.weight_rows
        return self.with_pairs(
            SampledPairs(
                self.mean_rows,
                self.raw_rows,
                weight,
                number=number,
                seed=seed,
                progress=progress,
            )
        )

    def with_pairs(self, pairs: SampledPairs) -> Geometry:
        """The same geometry, its means over pairs read from `pairs`."""
        found = replace(self)
        found.__dict__.update(self.__dict__, sampled_pairs=pairs)
        return found

    @cached_property
    def mean_pairs(self) -> PairSums:
        """Pair statistics of the centred means, with raw cosines beside them."""
        return pair_sums(self.centred_means, self.global_mean)

    @cached_property
    def quartic_pairs(self) -> PairSums:
        """As `mean_pairs`, with Σ ‖m_i - m_j‖⁻⁴ as the sum over distances."""
        return pair_sums(self.centred_means, self.global_mean, power=2)

    @cached_property
    def weight_pairs(self) -> PairSums:
        """Pair statistics of the raw classifier rows (no distances)."""
        return pair_sums(self._weight, distances=False)

    @cached_property
    def kernel_pairs(self) -> KernelSums:
        """Kernels of the directions of the centred means, and logarithms of their distances."""
        return kernel_sums(self.mean_rows)

    @property
    def mean_norms(self) -> Float[Tensor, " classes"]:
        return row_norms(self.centred_means)

    @property
    def weight_norms(self) -> Float[Tensor, " classes"]:
        return row_norms(self._weight)

    def pointless(self, which: str) -> str | None:
        """Which row of "means" (centred), "raw" means or "weight" is zero, in words; None where all
        have a direction. Rounding of a mean that coincides with the centre counts as zero."""
        names = {"means": "mean_rows", "raw": "raw_rows", "weight": "weight_rows"}
        rows: Rows = getattr(self, names[which])
        scale = float(self.raw_rows.norms.max()) if which == "means" else 0.0
        zero = (rows.norms <= 4 * EPSILON * scale).nonzero().flatten()
        if not zero.numel():
            return None
        what = {
            "means": "class {} of those present has its mean at the centre of all",
            "raw": "the mean of class {} of those present is zero",
        }.get(which, "the classifier's row of class {} of those present is zero")
        return what.format(int(zero[0]))

    def select(self, index: Int[Tensor, " kept"]) -> Geometry:
        """The geometry of some classes only."""
        return replace(self, **{name: value[index] for name, value in self._parts().items()})

    # ---- as plain data ------------------------------------------------------------------------
    def _parts(self) -> dict[str, Any]:
        return {name: value for name in PARTS if (value := getattr(self, name)) is not None}

    def __repr__(self) -> str:
        K, d = self.num_classes, self.num_features
        return f"Geometry({K} classes, {d} features: {', '.join(self._parts())})"

    def to_dict(self) -> dict[str, Any]:
        """num_classes, num_features, and means, weight, bias, counts as lists; null for a part
        that is not there."""
        sizes = {"num_classes": self.num_classes, "num_features": self.num_features}
        return sizes | dict.fromkeys(PARTS) | {n: v.tolist() for n, v in self._parts().items()}

    def to_json(self) -> str:
        """`to_dict` as text."""
        return as_json(self.to_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Geometry:
        """Rebuild what `to_dict` gave. Raises ValueError as the class itself does."""
        return cls(**{name: data.get(name) for name in PARTS})

    def to_frame(self) -> pd.DataFrame:
        """A row a class: its index, count, and the norms of its centred mean and its weight row."""
        import pandas as pd

        columns: dict[str, Any] = {"class": range(self.num_classes)}
        if self.counts is not None:
            columns["count"] = self.counts.tolist()
        for name, rows in (("mean_norm", self.means), ("weight_norm", self.weight)):
            if rows is not None:
                columns[name] = getattr(self, f"{name}s").detach().tolist()
        return pd.DataFrame(columns)

    # ---- comparison ---------------------------------------------------------------------------
    def distance(self, other: Geometry) -> Distance:
        """Root mean square over the blocks MMᵀ, WWᵀ, WMᵀ of ‖A/‖A‖_F - B/‖B‖_F‖_F, in [0, 2].

        0 = same shape up to rotation and scale. The two need the same K and class order, not the
        same d. Blocks that one side lacks are left out and named. Raises ValueError when K differs
        or no block is shared.
        """
        if self.num_classes != other.num_classes:
            raise ValueError(
                f"{self.num_classes} classes against {other.num_classes}; a distance needs the "
                "same classes in the same order: take those rows by .select([…])"
            )
        blocks: dict[str, float] = {}
        left_out = []
        for name, left, right in (
            ("means", "means", "means"),
            ("weights", "weight", "weight"),
            ("weights-means", "weight", "means"),
        ):
            pairs = [g._factors(left, right) for g in (self, other)]
            if pairs[0] is None or pairs[1] is None:
                left_out.append(name)
            else:
                blocks[name] = gram_gap(pairs[0], pairs[1])
        if not blocks:
            raise ValueError(
                "the two geometries share no block: one holds only means, the other only a weight; "
                "give both one of them, Geometry(means=…, weight=…)"
            )
        value = float(np.sqrt(np.mean([gap**2 for gap in blocks.values()])))
        return Distance(value, blocks, tuple(left_out))

    def _factors(self, left: str, right: str) -> tuple[Tensor, Tensor] | None:
        if getattr(self, left) is None or getattr(self, right) is None:
            return None
        rows = {"means": lambda: self.centred_means, "weight": lambda: self._weight}
        return rows[left](), rows[right]()

    def one_vs_rest_margin(self, which: str = "means") -> Float[Tensor, " classes"]:
        """Per class the distance from its unit row to the convex hull of all other unit rows.

        The smallest is the margin that a softmax code maximises; a simplex reaches K/(K-1), the
        largest possible. `which` is "means" (centred) or "weight". One non-negative least-squares
        problem per class: with P the other rows minus row k, min_{x≥0} ‖Px‖² + (1ᵀx - 1)² is
        reached at a multiple of the hull's point nearest to row k. Source: Jiang et al. 2024.
        """
        rows = self.centred_means if which == "means" else self._weight
        return hull_distances(rows / row_norms(rows)[:, None])
