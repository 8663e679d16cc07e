"""Moments of up to fourth order of every class, about its final mean: what the error of deciding by
centres of a few shots depends on.

They are of differences to the mean, which one pass does not have: a second look sums them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.protocol import Batch, Summed, Tensors
from ncollapse.collect.statistics.turns import PIECE
from ncollapse.pairs.sums import squared_distances

MODES = ("full", "trace")


@dataclass(frozen=True, eq=False)
class HigherMoments:
    """The K classes that are present, ξ = h - μ_i for a sample of class i, averages over its n_i
    samples, D_ij = μ_i - μ_j.

    counts: n_i. means (K, d). spreads: v_i = E ‖ξ‖². fourth: E ‖ξ‖⁴. along (K, K): D_ijᵀ S_i D_ij.
    skew (K, K): E[(D_ij·ξ)‖ξ‖²] of class j. crossed (K, K): tr S_i S_j, None where second moments
    did not fit.
    """

    counts: Int[Tensor, " classes"]
    means: Float[Tensor, "classes dim"]
    spreads: Float[Tensor, " classes"]
    fourth: Float[Tensor, " classes"]
    along: Float[Tensor, "classes classes"]
    skew: Float[Tensor, "classes classes"]
    crossed: Float[Tensor, "classes classes"] | None = None

    @property
    def num_classes(self) -> int:
        return int(self.counts.numel())

    @property
    def squares(self) -> Float[Tensor, "classes classes"]:
        """‖μ_i - μ_j‖², of close ones from differences."""
        return squared_distances(self.means - self.means.mean(0))


class FourthMoments(Summed):
    """Sums over samples of ‖ξ‖², ‖ξ‖⁴, ξ‖ξ‖² and, in mode "full", ξξᵀ; in mode "trace" of
    (ξ·D_ij)² in its place, which needs no d × d matrix a class. All in float64.

    Labels that `total` did not count are skipped. Raises ValueError for an unknown mode.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels", "means"})
    SUMS = ("counts", "spreads", "fourth", "skewed", "second")

    def __init__(self, total: ClassMoments, mode: str = "full") -> None:
        if mode not in MODES:
            raise ValueError(f"mode {mode!r} is unknown; {' or '.join(MODES)} is needed")
        K, d = total.num_classes, total.num_features
        self.mode = mode
        self.means = total.means.cpu().to(torch.float64).nan_to_num(0.0)
        self.counts = torch.zeros(K, dtype=torch.int64)
        self.spreads = torch.zeros(K, dtype=torch.float64)
        self.fourth = torch.zeros(K, dtype=torch.float64)
        self.skewed = torch.zeros(K, d, dtype=torch.float64)
        shape = (K, d, d) if mode == "full" else (K, K)
        self.second = torch.zeros(shape, dtype=torch.float64)

    @staticmethod
    def estimate(num_classes: int, num_features: int, mode: str = "full") -> int:
        """Bytes of the state."""
        K, d = num_classes, num_features
        return 8 * (3 * K + 2 * K * d + (K * d * d if mode == "full" else K * K))

    @property
    def state_bytes(self) -> int:
        held = (self.means, *(getattr(self, name) for name in self.SUMS))
        return sum(tensor.nbytes for tensor in held)

    def take(self, batch: Batch) -> None:
        self.update(batch.features, batch.labels)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add features (samples, d) with labels (samples)."""
        kept = (labels >= 0) & (labels < self.counts.numel())
        if not bool(kept.all()):
            features, labels = features[kept], labels[kept]
        size = max(PIECE // features.shape[1], 16)
        for start in range(0, labels.numel(), size):
            part = slice(start, start + size)
            self._add(features[part].to(torch.float64), labels[part].to(torch.int64))

    def _add(self, features: Tensor, labels: Tensor) -> None:
        shifted = features - self.means[labels]
        square = torch.linalg.vector_norm(shifted, dim=1) ** 2
        self.counts += torch.bincount(labels, minlength=self.counts.numel())
        self.spreads.index_add_(0, labels, square)
        self.fourth.index_add_(0, labels, square**2)
        self.skewed.index_add_(0, labels, shifted * square[:, None])
        if self.mode == "full":
            for label in labels.unique().tolist():
                mine = shifted[labels == label]
                self.second[label].addmm_(mine.T, mine)
            return
        seen = shifted @ self.means.T
        towards = seen.gather(1, labels[:, None]) - seen
        self.second.index_add_(0, labels, towards**2)

    def merge(self, other: FourthMoments) -> FourthMoments:
        """Add the samples of `other`, which were seen about the same means."""
        for name in self.SUMS:
            getattr(self, name).add_(getattr(other, name))
        return self

    @property
    def identity(self) -> str:
        return f"fourth {tuple(self.skewed.shape)} {self.mode}"

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.SUMS}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        for name in self.SUMS:
            setattr(self, name, summed[name].clone())
        self.counts = self.counts.round().to(torch.int64)

    def state_dict(self) -> dict[str, Any]:
        return {name: tensor.clone() for name, tensor in self.summands({}).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load({}, state, {})

    def result(self) -> HigherMoments:
        """The moments of the classes that have samples."""
        present = (self.counts > 0).nonzero().flatten()
        counts, means = self.counts[present], self.means[present]
        number = counts.to(torch.float64)
        skewed = self.skewed[present] / number[:, None]
        seen = skewed @ (means - means.mean(0)).T
        crossed: Tensor | None = None
        if self.mode == "full":
            S = self.second[present] / number[:, None, None]
            towards = means[:, None] - means
            along = torch.einsum("ijd,ide,ije->ij", towards, S, towards)
            flat = S.flatten(1)
            crossed = flat @ flat.T
        else:
            along = self.second[present][:, present] / number[:, None]
        return HigherMoments(
            counts,
            means,
            self.spreads[present] / number,
            self.fourth[present] / number,
            along.clamp_min(0),
            # (μ_i - μ_j)·E[ξ‖ξ‖²] of class j.
            seen.T - seen.diagonal(),
            crossed,
        )


def higher_moments(
    features: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    *,
    mode: str = "full",
) -> HigherMoments:
    """Those of features (samples, d) with labels 0.., in two looks; absent classes are left out.

    Where there are fewer samples than features, they are first turned into the space that they
    span, which changes no moment but makes its matrices smaller. Raises ValueError as
    `ClassMoments` does.
    """
    wide = features.detach().cpu().to(torch.float64)
    if wide.dim() == 2 and 0 < wide.shape[0] < wide.shape[1] and bool(wide.isfinite().all()):
        wide = torch.linalg.qr(wide.T, mode="reduced").R.T
    K = int(labels.max()) + 1 if labels.numel() else 0
    total = ClassMoments(max(K, 2), wide.shape[1], mode="trace")
    total.update(wide, labels)
    total.flush()
    found = FourthMoments(total, mode)
    found.update(wide, labels)
    return found.result()
