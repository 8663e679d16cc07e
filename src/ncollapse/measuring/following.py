"""What a pass over texts tells beside features: which tokens follow which contexts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ncollapse.collect.tap.batches import Batch
from ncollapse.collect.tap.tokens import ids_of
from ncollapse.metrics.successors import Successors, SuccessorShares
from ncollapse.sources.features.arrays import FeatureSource

# Tokens that wait to be counted together: every count sorts all that is known.
TOGETHER = 1 << 21


class Following:
    """Hears the batches of the first split of one whole pass. kind: how tokens are samples, None
    where they are not; successors: None before a pass has ended, and of several processes."""

    def __init__(self) -> None:
        self.kind: str | None = None
        self.successors: SuccessorShares | None = None
        self._split: str | None = None
        self._counts: Successors | None = None
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._size = 0

    def begin(self) -> None:
        """A pass begins; the first whole one counts."""
        if self.successors is None:
            self._split, self._counts = None, Successors()
            self._waiting, self._size = [], 0

    def take(self, split: str, batch: Batch) -> None:
        """A batch of whose tokens some are samples, whose class is the next one."""
        if self._counts is None or batch.tokens is None or self._split not in (None, split):
            return
        ids = ids_of(batch.inputs)
        self._split = split
        valid = torch.zeros(ids.numel(), dtype=torch.bool)
        valid[batch.tokens.positions.cpu()] = True
        valid = valid.view(ids.shape)
        # A sample's target is real too, though it may be no sample itself.
        valid[:, 1:] |= valid[:, :-1].clone()
        self._waiting.append((ids.cpu(), valid))
        self._size += ids.numel()
        if self._size >= TOGETHER:
            self._count()

    def end(self) -> None:
        """The pass was whole."""
        if self._counts is not None and self._split is not None:
            self._count()
            self.successors = self._counts.result()
        self._counts = None

    def _count(self) -> None:
        assert self._counts is not None
        for ids, valid in _joined(self._waiting):
            self._counts.update(ids, valid)
        self._waiting, self._size = [], 0

    def tell(self, sources: Mapping[str, FeatureSource]) -> None:
        """Sources that tokens are the samples of."""
        for source in sources.values():
            source.tokens, source.successors = self.kind, self.successors


def _joined(parts: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Batches of one length together."""
    lengths = sorted({ids.shape[1] for ids, _ in parts})
    found = []
    for length in lengths:
        mine = [part for part in parts if part[0].shape[1] == length]
        found.append((torch.cat([ids for ids, _ in mine]), torch.cat([valid for _, valid in mine])))
    return found
