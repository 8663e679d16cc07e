"""The same samples in ten blocks, so that each can be left out: the block jackknife's statistics.

Blocks take the samples of each class in turn, so files sorted by class still give blocks that
hold every class. A class of one sample is never left out: its mean would vanish with it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.protocol import Batch, Summed, Tensors
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.collect.statistics.turns import Turns, about
from ncollapse.geometry import Geometry

BLOCKS = 10


class BlockMoments(Summed):
    """Counts, sums and squares of ten blocks about the class means of `total`, by a second look.

    `without(b)` is the statistics of all blocks but b: plain sums about common points, so leaving
    out is subtraction. No second moments: a d × d matrix a block costs more than all else.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels", "means"})
    SUMS = ("counts", "sums", "squares")

    def __init__(self, total: ClassMoments, blocks: int = BLOCKS) -> None:
        self.number, self.num_classes = blocks, total.num_classes
        self.whole = total.counts.cpu()
        self._means = total.means.cpu().nan_to_num(0.0)
        cells = blocks * total.num_classes
        self.counts = torch.zeros(cells, dtype=torch.int64)
        self.sums = torch.zeros(cells, total.num_features, dtype=torch.float64)
        self.squares = torch.zeros(cells, dtype=torch.float64)
        self.turns = Turns(total.num_classes)

    @staticmethod
    def estimate(num_classes: int, num_features: int, blocks: int = BLOCKS) -> int:
        """Bytes of the state, before the means are known."""
        return 8 * (blocks + 1) * num_classes * num_features

    @property
    def state_bytes(self) -> int:
        held = (self.counts, self.sums, self.squares, self._means, self.turns.seen)
        return sum(tensor.nbytes for tensor in held)

    def take(self, batch: Batch) -> None:
        self.update(batch.features, batch.labels, batch.places)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, places: Tensor | None = None) -> None:
        """Add valid samples, each class's samples dealt to the blocks in turn."""
        places = self.turns.places(labels, places)
        kept = self.whole[labels] > 1
        cells = (places % self.number) * self.num_classes + labels
        if not bool(kept.all()):
            features, labels, cells = features[kept], labels[kept], cells[kept]
        for part, shifted in about(self._means, features, labels):
            self.sums.index_add_(0, cells[part], shifted)
            square = torch.linalg.vector_norm(shifted, dim=1) ** 2
            self.squares.index_add_(0, cells[part], square)
        self.counts += torch.bincount(cells, minlength=self.counts.numel())

    def merge(self, other: BlockMoments) -> BlockMoments:
        """Add the samples of `other`, which were dealt to blocks about the same means."""
        for name in self.SUMS:
            getattr(self, name).add_(getattr(other, name))
        self.turns.seen += other.turns.seen
        return self

    @property
    def identity(self) -> str:
        return f"blocks {self.number} {tuple(self.sums.shape)}"

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        """All are about the same means, so nothing is moved."""
        return {"turns": self.turns.seen} | {name: getattr(self, name) for name in self.SUMS}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        self.turns.seen = summed["turns"].round().to(torch.int64)
        self.counts = summed["counts"].round().to(torch.int64)
        self.sums, self.squares = summed["sums"], summed["squares"]

    def result(self) -> list[tuple[ClassStatistics, Geometry]]:
        """Statistics and means without each of the blocks."""
        return [self.without(block) for block in range(self.number)]

    def state_dict(self) -> dict[str, Any]:
        return {name: tensor.clone() for name, tensor in self.summands({}).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load({}, {name: tensor.clone() for name, tensor in state.items()}, {})

    def without(self, left_out: int) -> tuple[ClassStatistics, Geometry]:
        """Statistics and means of every block but one; no scatter."""

        def rest(name: str) -> Tensor:
            held = getattr(self, name).unflatten(0, (self.number, self.num_classes))
            others = [block for block in range(self.number) if block != left_out]
            found = held[others[0]].clone()
            for block in others[1:]:
                found += held[block]
            return found

        single = (self.whole == 1).to(torch.int64)
        counts = rest("counts") + single
        present = (counts > 0).nonzero().flatten()
        number = counts.clamp_min(1).to(torch.float64)
        shift = rest("sums") / number[:, None]
        traces = (rest("squares") / number - (shift**2).sum(1)).clamp_min(0)[present]
        statistics = ClassStatistics(counts=counts[present], traces=traces, present=present)
        means = (self._means + shift)[present]
        return statistics, Geometry(means, counts=counts[present])
