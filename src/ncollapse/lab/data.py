"""Data that studies embed: scikit-learn's digits, split and scaled the same way every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.sources.specs.datasets import digit_arrays

SPLITS = ("train", "test")


@runtime_checkable
class Data(Protocol):
    """What `train` trains on and studies measure: samples of the splits "train" and "test".

    evaluation_batch: how many samples one forward pass without gradients takes.
    """

    evaluation_batch: ClassVar[int]

    @property
    def num_classes(self) -> int: ...

    def count(self, split: str) -> int:
        """How many samples a split has."""
        ...

    def batches(self, split: str, parts: Sequence[Tensor]) -> Iterator[Any]:
        """One batch, (inputs, labels) or a mapping with labels, for every part: the numbers of
        its samples, int64."""
        ...

    def loader(self, split: str) -> Any:
        """The split in its own order, as `measure` takes it."""
        ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs (samples, dim) float32 and labels (samples) int64 of two splits."""

    train_x: Float[Tensor, "train dim"]
    train_y: Int[Tensor, " train"]
    test_x: Float[Tensor, "test dim"]
    test_y: Int[Tensor, " test"]
    class_names: tuple[str, ...]
    evaluation_batch: ClassVar[int] = 4096

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def count(self, split: str) -> int:
        return self.loader(split)[1].numel()

    def batches(self, split: str, parts: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, labels = self.loader(split)
        return ((inputs[part], labels[part]) for part in parts)

    def loader(self, split: str) -> tuple[Tensor, Tensor]:
        """Inputs and labels. Raises ValueError for a split that is neither train nor test."""
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is unknown; one of {', '.join(SPLITS)} is needed")
        if split == "train":
            return self.train_x, self.train_y
        return self.test_x, self.test_y

    @property
    def num_features(self) -> int:
        return int(self.train_x.shape[1])


def digits(test_share: float = 1 / 3, seed: int = 0) -> Dataset:
    """1,797 images of 8 × 8 pixels in [0, 1], ten classes, split stratified by class."""
    (train_x, test_x, train_y, test_y), names = digit_arrays(test_share, seed)
    return Dataset(train_x, train_y, test_x, test_y, names)


def long_tailed(data: Dataset, counts: Sequence[int], seed: int = 0) -> Dataset:
    """The dataset with counts[k] training samples of class k, drawn without replacement by an own
    generator and kept in their order; the test split stays whole.

    Raises ValueError when the counts are not one a class, below 1, or more than there are.
    """
    if len(counts) != data.num_classes:
        raise ValueError(
            f"{len(counts)} counts for {data.num_classes} classes; one a class is needed"
        )
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for k, count in enumerate(counts):
        there = (data.train_y == k).nonzero().flatten()
        if not 1 <= count <= there.numel():
            raise ValueError(
                f"{count} samples of class {k} wanted and {there.numel()} are there; ask for 1 to "
                f"{there.numel()}"
            )
        kept.append(there[torch.randperm(there.numel(), generator=generator)[:count]])
    index = torch.cat(kept).sort().values
    return replace(data, train_x=data.train_x[index], train_y=data.train_y[index])


def geometric_counts(largest: int, smallest: int, num_classes: int) -> tuple[int, ...]:
    """Counts that fall by a constant factor from the first class to the last, rounded.

    Raises ValueError unless 1 ≤ smallest ≤ largest and there are at least two classes.
    """
    if not 1 <= smallest <= largest or num_classes < 2:
        raise ValueError(
            f"largest={largest}, smallest={smallest}, num_classes={num_classes}; 1 ≤ smallest ≤ "
            "largest and at least 2 classes are needed"
        )
    factor = smallest / largest
    return tuple(round(largest * factor ** (k / (num_classes - 1))) for k in range(num_classes))
