"""Few samples in many dimensions, read in the span that they and the classifier's rows fill."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ncollapse.sources.features.arrays import FeatureSource

# Copies of the features that are held at once in float64.
COPIES = 4


class SpannedSource(FeatureSource):
    """A source in an orthonormal basis Q (d, m) of the span of its rows, of its head's and of what
    the next weight reads, float64.

    No distance, angle or logit changes, and no d × d matrix is needed: 24 samples 4,096 wide are
    34 numbers each. dtype stays that of the stored features.
    """

    def __init__(self, source: FeatureSource, rows: Tensor, basis: Tensor) -> None:
        self._rows, self.basis = rows @ basis, basis
        self.num_samples, self.num_features = self._rows.shape
        self.dtype, self.labels, self.targets = source.dtype, source.labels, source.targets
        self.splits, self.split_codes = source.splits, source.split_codes
        self.class_names, self.description = source.class_names, source.description
        self.bias, self.decided = source.bias, source.decided
        self.thresholds, self.link = source.thresholds, source.link
        if source.weight is not None:
            self.weight = source.weight.to(torch.float64) @ basis
        if source.reads is not None:
            self.reads = source.reads @ basis
        self.__dict__["fingerprint"] = source.fingerprint

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        for place in range(start, self.num_samples, size):
            yield self._rows[place : place + size]

    def stored(self, rows: Tensor) -> Tensor:
        """Rows (any, m) in the columns of the features."""
        return rows @ self.basis.T


def spanned(source: FeatureSource, memory_budget: float) -> FeatureSource:
    """The source in its span where that has at most half of its dimensions and fits into memory;
    as it is otherwise, or where a number is not finite."""
    beside = [rows for rows in (source.weight, source.reads) if rows is not None]
    wide = source.num_features
    held = source.num_samples + sum(rows.shape[0] for rows in beside)
    if 2 * held > wide or COPIES * 8 * held * wide > memory_budget or source.order is not None:
        return source
    rows = torch.cat([block.to(torch.float64) for block in source.rows(0, source.num_samples)])
    if not bool(rows.isfinite().all()):
        return source
    given = [rows, *(one.to(torch.float64) for one in beside)]
    basis, _ = torch.linalg.qr(torch.cat(given).T)
    return SpannedSource(source, rows, basis)
