"""SpanScatter: within-class scatter in the span of the class means, for features so wide that no
d × d matrix is kept. tr(Σ_W Σ_B⁺) sees no more of it than that."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.protocol import Batch, Summed, Tensors
from ncollapse.collect.statistics.summary import Span
from ncollapse.collect.statistics.turns import about


class SpanScatter(Summed):
    """UᵀΣ_WU (r, r) of samples about their class means, from a second look in O(N d r).

    U (d, r): orthonormal columns that span the centred class means of `total`, r = K - 1 at most.
    Both weightings are kept. Exact: the means are final, so nothing cancels, however deep the
    collapse. Raises ValueError where all class means coincide.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels", "means"})

    def __init__(self, total: ClassMoments) -> None:
        geometry = total.geometry()
        found = geometry.between.range
        self.basis = torch.eye(geometry.num_features, dtype=torch.float64)
        self.basis = self.basis if found is None else found
        self._means = total.means.cpu().nan_to_num(0.0)
        counts = total.counts.cpu().to(torch.float64)
        self._shares = 1 / (counts.clamp_min(1) * (counts > 0).sum())
        rank = self.basis.shape[1]
        self.macro = torch.zeros(rank, rank, dtype=torch.float64)
        self.micro = torch.zeros(rank, rank, dtype=torch.float64)
        self._samples = float(counts.sum())

    @staticmethod
    def estimate(num_classes: int, num_features: int) -> int:
        """Bytes of the state before the means are known."""
        rank = min(num_classes - 1, num_features)
        return 8 * (num_features * rank + 2 * rank**2 + num_classes * num_features)

    @property
    def state_bytes(self) -> int:
        held = (self.basis, self._means, self._shares, self.macro, self.micro)
        return sum(tensor.nbytes for tensor in held)

    def take(self, batch: Batch) -> None:
        self.update(batch.features, batch.labels)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add valid samples (labels 0..K-1): features (samples, d)."""
        for part, shifted in about(self._means, features, labels):
            seen = shifted @ self.basis
            self.micro += seen.T @ seen / self._samples
            self.macro += seen.T @ (seen * self._shares[labels[part], None])

    def merge(self, other: SpanScatter) -> SpanScatter:
        """Add the samples of `other`, about the same means."""
        self.macro += other.macro
        self.micro += other.micro
        return self

    @property
    def identity(self) -> str:
        return f"span {tuple(self.basis.shape)}"

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return {"macro": self.macro, "micro": self.micro}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        self.macro, self.micro = summed["macro"], summed["micro"]

    def state_dict(self) -> dict[str, Any]:
        return {name: tensor.clone() for name, tensor in self.summands({}).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load({}, {name: tensor.clone() for name, tensor in state.items()}, {})

    def result(self) -> Span:
        return Span(self.basis, self.macro, self.micro)
