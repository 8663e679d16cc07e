"""Data that studies embed: scikit-learn's digits, split and scaled the same way every time."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.sources.datasets import digit_arrays


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs (samples, dim) float32 and labels (samples) int64 of two splits."""

    train_x: Float[Tensor, "train dim"]
    train_y: Int[Tensor, " train"]
    test_x: Float[Tensor, "test dim"]
    test_y: Int[Tensor, " test"]
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def num_features(self) -> int:
        return int(self.train_x.shape[1])


def digits(test_share: float = 1 / 3, seed: int = 0) -> Dataset:
    """1,797 images of 8 × 8 pixels in [0, 1], ten classes, split stratified by class."""
    (train_x, test_x, train_y, test_y), names = digit_arrays(test_share, seed)
    return Dataset(train_x, train_y, test_x, test_y, names)
