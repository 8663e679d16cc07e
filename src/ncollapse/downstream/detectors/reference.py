"""Training features that detectors are fitted to: read in blocks, summed once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.checks import NonFiniteError
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.sources.features.arrays import ArraySource, FeatureSource, check_shape
from ncollapse.sources.features.given import as_tensor

# Rows in work at once: flat memory whatever the number of samples.
ROWS = 8192


@dataclass(frozen=True, eq=False)
class Summary:
    """One look at N samples, in float64: n_c and μ_c of the classes that are present, the mean of
    all samples, Σ_W = (1/N) Σ (h - μ_y)(h - μ_y)ᵀ and Σ_T about the mean of all (both d × d)."""

    counts: Int[Tensor, " classes"]
    means: Float[Tensor, "classes dim"]
    mean: Float[Tensor, " dim"]
    within: Float[Tensor, "dim dim"]
    total: Float[Tensor, "dim dim"]
    present: Int[Tensor, " classes"]

    @property
    def num_samples(self) -> int:
        return int(self.counts.sum())

    def about(self, point: Float[Tensor, " dim"]) -> Float[Tensor, "dim dim"]:
        """(1/N) Σ (h - u)(h - u)ᵀ about any point u."""
        apart = self.mean - point
        return self.total + torch.outer(apart, apart)


class Reference:
    """The samples of a source that detectors learn from, with the classifier behind them.

    source: features with labels, read again where a detector needs a second look. split: its
    samples alone. labelled: whether the labels are classes; samples with a negative label are
    left out, as pytorch-ood does, and those with `ignore_index`.
    Raises ValueError where no sample is left.
    """

    def __init__(
        self,
        source: FeatureSource,
        *,
        split: str | None = None,
        labelled: bool = True,
        num_classes: int | None = None,
        ignore_index: int | None = None,
    ) -> None:
        self.source, self.labelled = source, labelled
        kept = source.labels >= 0
        if ignore_index is not None:
            kept &= source.labels != ignore_index
        if split is not None and source.split_codes is not None:
            kept &= source.split_codes == source.splits.index(split)
        if not bool(kept.any()):
            raise ValueError(
                "no sample to fit to: every label is negative, which means out-of-distribution; "
                "pass samples of the classes that the model knows"
            )
        self._kept = kept
        self.labels = source.labels[kept]
        self.weight = None if source.weight is None else source.weight.detach().to(torch.float64)
        self.bias = None if source.bias is None else source.bias.detach().to(torch.float64)
        rows = None if self.weight is None else len(self.weight)
        self.num_classes = num_classes or rows or int(self.labels.max()) + 1

    @classmethod
    def of(
        cls, features: Any, labels: Any = None, *, weight: Any = None, bias: Any = None
    ) -> Reference:
        """Of arrays or tensors: features (samples, d), labels (samples) or None."""
        marks = torch.zeros(len(features), dtype=torch.int64) if labels is None else labels
        source = ArraySource(features, marks, weight, bias, description="training features")
        return cls(source, labelled=labels is not None)

    @property
    def num_features(self) -> int:
        return self.source.num_features

    @property
    def num_samples(self) -> int:
        return int(self.labels.numel())

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (rows, d) in float64 and labels (rows), as often as wanted."""
        for chunk in self.source.chunks(ROWS):
            stop = chunk.start + chunk.features.shape[0]
            mine = self._kept[chunk.start : stop]
            if bool(mine.any()):
                yield chunk.features[mine].to(torch.float64), chunk.labels[mine]

    @cached_property
    def summary(self) -> Summary:
        """Counts, means and scatter by one look: K d + d² numbers whatever N.

        Raises ValueError for features that are not finite.
        """
        size = max(self.num_classes, int(self.labels.max()) + 1, 2)
        # No matrix a class: detectors know one Σ_W.
        moments = ClassMoments(size, self.num_features, mode="full", memory_budget=0)
        for features, labels in self.blocks():
            moments.update(features, labels)
        found = moments.statistics()
        assert found.micro is not None and found.present is not None
        means, within = moments.means[found.present], found.micro
        shares = found.counts.to(torch.float64) / found.counts.sum()
        mean = shares @ means
        apart = (means - mean) * shares.sqrt()[:, None]
        return Summary(found.counts, means, mean, within, within + apart.T @ apart, found.present)


def checked_features(features: Any, num_features: int, name: str) -> Float[Tensor, "samples dim"]:
    """Features as a tensor (samples, d) on the CPU. Raises ValueError for another width or shape,
    and for NaN or infinity."""
    rows = as_tensor(features)
    check_shape(tuple(rows.shape), rows.dtype, name)
    if rows.shape[1] != num_features:
        raise ValueError(
            f"features are {rows.shape[1]} wide and {name} was fitted to {num_features}; pass "
            "those of the same layer"
        )
    bad = (~rows.isfinite().all(1)).nonzero()
    if bad.numel():
        raise NonFiniteError(int(bad[0]))
    return rows
