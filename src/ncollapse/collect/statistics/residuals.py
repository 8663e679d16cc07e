"""Residuals: a few thousand samples about their class means, the same share of every class.

What needs single samples (influences on a reading, labels dealt anew) needs no more of them: an
error that is a mean over 8,192 rows is known to one or two per cent.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.protocol import Batch, Summed, Tensors
from ncollapse.collect.statistics.turns import Turns, about

ROWS, LEAST = 8192, 8


class Residuals(Summed):
    """Samples z = h - μ_y of a second look, in the dtype of the features, each in its own slot.

    All samples up to `rows`. Past that every class gives its share, at least 8 samples (or 2, of
    very many classes), one at a random place of each of as many equal stretches of its samples: by
    place alone, so that neither the order of classes nor the number of processes matters.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels", "means"})

    def __init__(
        self, total: ClassMoments, dtype: torch.dtype, rows: int = ROWS, seed: int = 0
    ) -> None:
        counts = total.counts.cpu()
        self.counts = counts
        self._means = total.means.cpu().nan_to_num(0.0)
        self._starts = counts.cumsum(0) - counts
        self._wanted, self.labels = chosen_places(counts, rows, seed)
        self.rows = torch.zeros(self._wanted.numel(), total.num_features, dtype=dtype)
        self.turns = Turns(total.num_classes)

    @staticmethod
    def estimate(counts: Tensor, num_features: int, itemsize: int, rows: int = ROWS) -> int:
        """Bytes of the state, before the means are known."""
        number = int(_quota(counts, rows).sum())
        return number * num_features * itemsize + 8 * counts.numel() * num_features

    @property
    def state_bytes(self) -> int:
        held = (self.rows, self.labels, self._wanted, self._means, self._starts, self.turns.seen)
        return sum(tensor.nbytes for tensor in held)

    @property
    def whole(self) -> bool:
        """Whether every sample is here."""
        return int(self.counts.sum()) == self.labels.numel()

    def places(self, labels: Int[Tensor, " some"]) -> Int[Tensor, " some"]:
        """Places of labels among the classes that are present."""
        return torch.searchsorted((self.counts > 0).nonzero().flatten(), labels)

    def take(self, batch: Batch) -> None:
        self.update(batch.features, batch.labels, batch.places)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, places: Tensor | None = None) -> None:
        """Take in those of these valid samples that were chosen."""
        place = self._starts[labels] + self.turns.places(labels, places)
        slot = torch.searchsorted(self._wanted, place).clamp_max(self._wanted.numel() - 1)
        mine = (self._wanted[slot] == place).nonzero().flatten()
        if mine.numel() == 0:
            return
        slot, own = slot[mine], labels[mine]
        for part, shifted in about(self._means, features[mine], own):
            self.rows[slot[part]] = shifted.to(self.rows.dtype)

    def merge(self, other: Residuals) -> Residuals:
        """Add the samples of `other`, whose slots are empty here."""
        self.rows += other.rows
        self.turns.seen += other.turns.seen
        return self

    @property
    def identity(self) -> str:
        return f"residuals {tuple(self.rows.shape)} {self.rows.dtype}"

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return {"turns": self.turns.seen, "rows": self.rows}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        self.turns.seen = summed["turns"].round().to(torch.int64)
        self.rows = summed["rows"].to(self.rows.dtype)

    def state_dict(self) -> dict[str, Any]:
        return {name: tensor.clone() for name, tensor in self.summands({}).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load({}, {name: tensor.clone() for name, tensor in state.items()}, {})

    def select(self, classes: Int[Tensor, " kept"]) -> Residuals:
        """Those of some classes, to be read only."""
        mine = torch.zeros(self.counts.numel(), dtype=torch.bool)
        mine[classes] = True
        found, rows = copy.copy(self), mine[self.labels]
        found.counts = torch.where(mine, self.counts, 0)
        found.rows, found.labels = self.rows[rows], self.labels[rows]
        return found

    def result(self) -> tuple[Float[Tensor, "some dim"], Int[Tensor, " some"]]:
        """The residuals, sorted by class, and their labels."""
        return self.rows, self.labels


def _quota(counts: Tensor, rows: int) -> Tensor:
    """Samples of each class to keep."""
    number = int(counts.sum())
    if number <= rows:
        return counts
    least = LEAST if LEAST * counts.numel() <= rows else 2
    share = (counts.to(torch.float64) * rows / number).round().to(torch.int64)
    return torch.minimum(share.clamp_min(least), counts)


def chosen_places(counts: Tensor, rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Places of the samples to keep, in the order of samples sorted by class, and their classes."""
    quota = _quota(counts, rows)
    labels = torch.repeat_interleave(torch.arange(counts.numel()), quota)
    number = torch.arange(labels.numel()) - (quota.cumsum(0) - quota)[labels]
    stretch = counts[labels].to(torch.float64) / quota[labels]
    generator = torch.Generator().manual_seed(seed)
    within = torch.rand(labels.numel(), generator=generator, dtype=torch.float64)
    # Neighbours stay at least one place apart: number and stretch grow by one stretch a time.
    place = (number * stretch + within * (stretch - 1)).floor().to(torch.int64)
    starts = counts.cumsum(0) - counts
    return starts[labels] + torch.minimum(place, counts[labels] - 1), labels
