"""A point of a problem: weight, features and bias as tensors, and what classes make of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ncollapse.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Point:
    """weight (K, d), features (N, d) or (K, d), bias (K) or None; all float64.

    inner: W_1, …, W_{M-1} of a deep linear problem, each (d, d), from the features up; `weight` is
    then the last factor W_M.
    """

    weight: Float[Tensor, "classes dim"]
    features: Float[Tensor, "samples dim"]
    bias: Float[Tensor, " classes"] | None = None
    inner: tuple[Tensor, ...] = ()

    @property
    def classifier(self) -> Float[Tensor, "classes dim"]:
        """W_M ⋯ W_1, the whole linear map above the features; `weight` unless deep."""
        found = self.weight
        for factor in reversed(self.inner):
            found = found @ factor
        return found

    @property
    def entering(self) -> Float[Tensor, "samples dim"]:
        """Features as they enter `weight`: W_{M-1} ⋯ W_1 h; `features` unless deep."""
        found = self.features
        for factor in self.inner:
            found = found @ factor.T
        return found

    @property
    def logits(self) -> Float[Tensor, "samples classes"]:
        found = self.features @ self.classifier.T
        return found if self.bias is None else found + self.bias

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """All free tensors in the order of the flat vector."""
        found = (self.weight, self.features, *self.inner)
        return found if self.bias is None else (*found, self.bias)

    def feature_energy(self, copies: Tensor | None = None) -> Tensor:
        """Σ ‖h_i‖², a scalar; copies: how many samples each row stands for, default one."""
        squares = self.features.square().sum(1)
        return squares.sum() if copies is None else copies @ squares

    def widened(self, width: int) -> Point:
        """The same logits and norms with zero columns appended up to d = width.

        Critical points stay critical: every gradient in a zero column is a product with a zero
        column. Raises ValueError when width is below d or the point is deep.
        """
        extra = width - self.weight.shape[1]
        if extra < 0 or self.inner:
            raise ValueError(
                f"width {width} asked of a point of width {self.weight.shape[1]} with "
                f"{len(self.inner)} inner factors; a larger width and no inner factor are needed"
            )
        return Point(
            functional.pad(self.weight, (0, extra)),
            functional.pad(self.features, (0, extra)),
            self.bias,
        )

    def geometry(self, counts: tuple[int, ...]) -> Geometry:
        """Weight, class means of what enters it, bias and counts of this point."""
        return Geometry(
            class_means(self.entering, counts),
            self.weight,
            self.bias,
            torch.tensor(counts, dtype=torch.int64),
        )


def class_labels(counts: tuple[int, ...]) -> Int[Tensor, " samples"]:
    """n_0 zeros, n_1 ones, …: the order of samples in every `Point`."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def class_means(
    features: Float[Tensor, "samples dim"], counts: tuple[int, ...]
) -> Float[Tensor, "classes dim"]:
    """Mean feature of each class, samples ordered by class."""
    return torch.stack([block.mean(0) for block in features.split(list(counts))])


def within_class_share(
    features: Float[Tensor, "samples dim"], counts: tuple[int, ...]
) -> float | None:
    """tr Σ_W / tr Σ_B, each an average over samples; 0 at collapse. None where Σ_B vanishes."""
    means = class_means(features, counts)[class_labels(counts)]
    within = float(((features - means) ** 2).sum())
    between = float(((means - features.mean(0)) ** 2).sum())
    return within / between if between > 1e-24 else None


def unit(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    """Rows divided by their norm."""
    return rows / rows.norm(dim=1, keepdim=True)
