"""Samples per class: what is known of labels before a feature is read."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from ncollapse.collect.statistics.protocol import Batch, Summed, Tensors


class LabelCounts(Summed):
    """Counts labels 0..K-1; `ignore_index` is skipped. Token classes and expected counts are read
    from it."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    def __init__(self, num_classes: int, ignore_index: int | None = -100) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.counts: Int[Tensor, " classes"] = torch.zeros(num_classes, dtype=torch.int64)

    @classmethod
    def of(cls, labels: Tensor, num_classes: int, ignore_index: int | None = -100) -> LabelCounts:
        """The counts of these labels."""
        found = cls(num_classes, ignore_index)
        found.update(labels)
        return found

    def update(self, labels: Tensor) -> None:
        """Add labels (samples)."""
        if self.ignore_index is not None:
            labels = labels[labels != self.ignore_index]
        self.counts += torch.bincount(labels, minlength=self.num_classes)

    def take(self, batch: Batch) -> None:
        self.update(batch.labels)

    def merge(self, other: LabelCounts) -> LabelCounts:
        self.counts += other.counts
        return self

    @property
    def identity(self) -> str:
        return f"counts {self.num_classes} {self.ignore_index}"

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return {"counts": self.counts}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        self.counts = summed["counts"].round().to(torch.int64)

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = state["counts"].clone()

    @property
    def state_bytes(self) -> int:
        return self.counts.nbytes

    def result(self) -> Int[Tensor, " classes"]:
        return self.counts
