"""A source that several processes read together: every one knows all labels, and reads its part."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ncollapse.collect.plan import CHUNK_ROWS
from ncollapse.collect.statistics.protocol import first_rows, working_dtype
from ncollapse.sources.features.arrays import FeatureSource

MOST_READ = 2048


class PartSource(FeatureSource):
    """Every R-th block of `block` rows of a source, from block r on; labels are those of the part.

    Blocks are those that one process would take in, so products of float32 features round alike.
    """

    @classmethod
    def of(cls, whole: FeatureSource, rank: int, size: int, block: int = CHUNK_ROWS) -> PartSource:
        """The part of one rank out of `size`."""
        part = cls()
        part.whole, part.block = whole, block
        rows = torch.arange(whole.num_samples)
        part.order = rows[torch.div(rows, block, rounding_mode="floor") % size == rank]
        part.labels = whole.labels[part.order]
        part.targets = None if whole.targets is None else whole.targets[part.order]
        part.num_samples, part.num_features = part.order.numel(), whole.num_features
        part.dtype, part.splits = whole.dtype, whole.splits
        codes = whole.split_codes
        part.split_codes = None if codes is None else codes[part.order]
        part.weight, part.bias, part.class_names = whole.weight, whole.bias, whole.class_names
        part.decided = None if whole.decided is None else whole.decided[part.order]
        part.reads, part.description = whole.reads, whole.description
        part.thresholds, part.link = whole.thresholds, whole.link
        part.tokens = whole.tokens
        part.__dict__["fingerprint"] = whole.fingerprint
        return part

    whole: FeatureSource
    block: int

    def relabelled(self, change: Callable[[Tensor], Tensor]) -> FeatureSource:
        found = super().relabelled(change)
        assert isinstance(found, PartSource)
        found.whole = self.whole.relabelled(change)
        return found.known_as(self.fingerprint)

    def targeted(self) -> FeatureSource:
        found = super().targeted()
        assert isinstance(found, PartSource)
        found.whole = self.whole.targeted()
        return found.known_as(self.fingerprint)

    def first_samples(self, code: int, num_classes: int, ignore_index: int | None) -> Tensor | None:
        """The first sample (classes, dim) of each class of a split in the whole source; None for
        so many classes that reading them one by one would take longer than it is worth."""
        if num_classes > MOST_READ:
            return None
        labels = self.whole.labels
        mine = (labels >= 0) & (labels < num_classes)
        if ignore_index is not None:
            mine &= labels != ignore_index
        if self.whole.split_codes is not None:
            mine &= self.whole.split_codes == code
        found = torch.zeros(num_classes, self.num_features, dtype=working_dtype(self.dtype))
        rows = mine.nonzero().flatten()
        first = first_rows(labels[rows], num_classes)
        for label, place in enumerate(first.tolist()):
            if place < rows.numel():
                found[label] = next(self.whole.rows(int(rows[place]), 1))[0].to(found.dtype)
        return found

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        """Blocks of at most `size` rows, none across the gap to the next block of this rank."""
        assert self.order is not None
        place = start
        while place < self.num_samples:
            first = int(self.order[place])
            left = self.block - first % self.block
            count = min(size, left, self.num_samples - place)
            yield next(self.whole.rows(first, count))
            place += count
