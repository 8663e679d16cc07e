"""Directions and lengths of features, class by class: how far classes have become rays.

Of h_i ≠ 0 the unit vector u_i = h_i/‖h_i‖ and the length ‖h_i‖ are summed about a pilot, the first
such sample of the class: 1 - ‖mean u‖² = mean ‖u - p‖² - ‖mean u - p‖² is then right at 1e-12 and
below, where 1 - ‖mean u‖ is rounding. All in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.checks import kept_and_wrong
from ncollapse.collect.statistics.protocol import Batch, Summed, Tensors, first_rows
from ncollapse.collect.statistics.turns import PIECE

STATE = ("counts", "zeros", "sums", "squares")


@dataclass(frozen=True, eq=False)
class Rays:
    """Directions and lengths of the K classes that are present.

    counts: n_k with a direction; zeros: samples of length zero, which have none. gaps: 1 - R_k²,
    R_k the length of the mean unit vector, NaN where no sample has a direction. axes: mean unit
    vectors (K, d), as long as R_k. lengths, variances: mean and variance (divisor n_k) of ‖h‖,
    zeros among them.
    """

    counts: Int[Tensor, " classes"]
    zeros: Int[Tensor, " classes"]
    gaps: Float[Tensor, " classes"]
    axes: Float[Tensor, "classes dim"]
    lengths: Float[Tensor, " classes"]
    variances: Float[Tensor, " classes"]


class Directions(Summed):
    """Collects unit vectors and lengths of features (samples, d) with labels 0..K-1; labels equal
    to `ignore_index` or out of range are skipped (the moments beside it refuse those)."""

    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels"})

    def __init__(
        self, num_classes: int, num_features: int, ignore_index: int | None = -100
    ) -> None:
        K, d = num_classes, num_features
        self.num_classes, self.num_features, self.ignore_index = K, d, ignore_index
        self.counts = torch.zeros(K, dtype=torch.int64)
        self.zeros = torch.zeros(K, dtype=torch.int64)
        # The last column is of lengths.
        self.pilots = torch.zeros(K, d + 1, dtype=torch.float64)
        self.sums = torch.zeros(K, d + 1, dtype=torch.float64)
        self.squares = torch.zeros(K, 2, dtype=torch.float64)

    @property
    def state_bytes(self) -> int:
        held = (self.counts, self.zeros, self.pilots, self.sums, self.squares)
        return sum(tensor.nbytes for tensor in held)

    def take(self, batch: Batch) -> None:
        self.update(batch.features, batch.labels)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add features (samples, d) with labels (samples)."""
        kept, _ = kept_and_wrong(labels, self.num_classes, self.ignore_index)
        if not bool(kept.all()):
            features, labels = features[kept], labels[kept]
        size = max(PIECE // self.num_features, 16)
        for start in range(0, labels.numel(), size):
            part = slice(start, start + size)
            self._add(features[part].to(torch.float64), labels[part].to(torch.int64))

    def _add(self, features: Tensor, labels: Tensor) -> None:
        length = torch.linalg.vector_norm(features, dim=1)
        zero = length == 0
        if bool(zero.any()):
            self.zeros += torch.bincount(labels[zero], minlength=self.num_classes)
            features, labels, length = features[~zero], labels[~zero], length[~zero]
        if not labels.numel():
            return
        unit = features / length[:, None]
        first = first_rows(labels, self.num_classes)
        new = ((self.counts == 0) & (first < labels.numel())).nonzero().flatten()
        self.pilots[new, :-1] = unit[first[new]]
        self.pilots[new, -1] = length[first[new]]
        unit -= self.pilots[labels, :-1]
        length = length - self.pilots[labels, -1]
        self.counts += torch.bincount(labels, minlength=self.num_classes)
        self.sums[:, :-1].index_add_(0, labels, unit)
        self.sums[:, -1].index_add_(0, labels, length)
        square = torch.linalg.vector_norm(unit, dim=1)
        self.squares.index_add_(0, labels, torch.stack([square, length], 1) ** 2)

    # ---- merging ------------------------------------------------------------------------------
    def _about(self, pilots: Tensor) -> dict[str, Tensor]:
        """The sums about other pilots: s̄ = s + n t, q̄ = q + 2 s·t + n ‖t‖², t the way there."""
        number = self.counts.to(torch.float64)[:, None]
        step = (self.pilots - pilots) * (number > 0)
        moved = 2 * self.sums * step + number * step**2
        squares = torch.stack([moved[:, :-1].sum(1), moved[:, -1]], 1) + self.squares
        return {
            "counts": self.counts,
            "zeros": self.zeros,
            "sums": self.sums + number * step,
            "squares": squares,
        }

    def merge(self, other: Directions) -> Directions:
        """Add the samples of `other`, whatever its pilots."""
        self.pilots = torch.where(self.counts[:, None] > 0, self.pilots, other.pilots)
        for name, tensor in other._about(self.pilots).items():
            setattr(self, name, getattr(self, name) + tensor)
        return self

    @property
    def identity(self) -> str:
        return f"directions {self.num_classes} {self.num_features} {self.ignore_index}"

    def centres(self) -> dict[str, Tensor]:
        seen = (self.counts > 0).to(torch.float64)
        return {"seen": seen, "pilots": self.pilots * seen[:, None]}

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return self._about(_common(centres))

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        self.pilots = _common(centres)
        self.counts = summed["counts"].round().to(torch.int64)
        self.zeros = summed["zeros"].round().to(torch.int64)
        self.sums, self.squares = summed["sums"], summed["squares"]

    # ---- saving and reading -------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).clone() for name in (*STATE, "pilots")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in (*STATE, "pilots"):
            setattr(self, name, state[name].clone())

    def result(self) -> Rays:
        present = self.counts + self.zeros > 0
        number = self.counts[present].to(torch.float64)
        zeros = self.zeros[present].to(torch.float64)
        shift = self.sums[present] / number[:, None].clamp_min(1)
        means = self.pilots[present] + shift
        own = self.squares[present] / number[:, None].clamp_min(1)
        gaps = own[:, 0] - (shift[:, :-1] ** 2).sum(1)
        within = (own[:, 1] - shift[:, -1] ** 2).clamp_min(0)
        # Zeros are apart from the others by their mean length.
        share = number / (number + zeros)
        return Rays(
            counts=self.counts[present],
            zeros=self.zeros[present],
            gaps=torch.where(number > 0, gaps.clamp(0, 1), torch.nan),
            axes=means[:, :-1],
            lengths=share * means[:, -1],
            variances=share * within + share * (1 - share) * means[:, -1] ** 2,
        )


def _common(centres: Tensors) -> Tensor:
    """The mean of the pilots of those parts that have seen the class."""
    return centres["pilots"] / centres["seen"].clamp_min(1)[:, None]
