"""Layers coupled by optimal transport, from given data: the multilayer unconstrained feature model.

Not one of the listed problems: it takes samples, not class counts, and no global optimum is
certified. `ncollapse.theory.solvers.mufm.solve_mufm` finds stationary points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MUFM:
    """min over W (K, d), H_1 … H_L (N, d), with H_0 = X the data and Y (N, K) one-hot labels:

        (1/2N) ‖H_L Wᵀ - Y‖² + (λ_W/2) ‖W‖² + (λ_H L/2N) Σ_l ‖H_l - H_{l-1}‖²

    features: X (N, d). labels: N class numbers 0..K-1, every one present. weight_decay: λ_W > 0.
    transport_decay: λ_H > 0, the price of moving samples. layers: L ≥ 1. No bias. Samples are kept
    in float64. Raises ValueError for shapes that disagree, fewer than two classes, an absent
    class, NaN or infinite features, decays that are not positive, layers < 1.

    For given H_L the layers between lie on straight lines, H_l = X + (l/L)(H_L - X), so the model
    equals the proximal one with (λ_H/2N) ‖H_L - X‖², whatever L (derived). Source: Wang, Gai,
    Zhang 2024 (the abstract read, the objective reconstructed from memory).
    """

    features: Tensor
    labels: Tensor
    weight_decay: float
    transport_decay: float
    layers: int = 4

    def __post_init__(self) -> None:
        X, y = self.features, self.labels
        if X.dim() != 2 or y.shape != X.shape[:1] or y.is_floating_point() or not len(X):
            raise ValueError(
                f"features have shape {tuple(X.shape)} and labels {tuple(y.shape)} of {y.dtype}; "
                "(samples, features) and one whole number a sample are needed"
            )
        if not bool(torch.isfinite(X).all()):
            raise ValueError("features hold NaN or infinite values; finite ones are needed")
        present = torch.unique(y)
        if int(present[0]) != 0 or int(present[-1]) != len(present) - 1 or len(present) < 2:
            raise ValueError(
                f"labels name classes {present.tolist()[:10]}; all of 0..K-1, at least two, are "
                "needed"
            )
        if not (self.weight_decay > 0 and self.transport_decay > 0):
            raise ValueError(
                f"weight_decay={self.weight_decay}, transport_decay={self.transport_decay}; both "
                "must be positive"
            )
        if self.layers < 1:
            raise ValueError(f"layers={self.layers}; at least 1 is needed")
        object.__setattr__(self, "features", X.detach().cpu().to(torch.float64))
        object.__setattr__(self, "labels", y.detach().cpu().to(torch.int64))

    @property
    def num_classes(self) -> int:
        return int(self.labels.max()) + 1

    @property
    def num_samples(self) -> int:
        return len(self.features)

    @cached_property
    def targets(self) -> Float[Tensor, "samples classes"]:
        """Y, one-hot in float64."""
        return torch.nn.functional.one_hot(self.labels, self.num_classes).to(torch.float64)

    def objective(self, weight: Tensor, path: Sequence[Tensor]) -> Float[Tensor, ""]:
        """The objective at W (K, d) and H_1 … H_L, each (N, d); differentiable in all of them.

        Raises ValueError unless there are L layers.
        """
        if len(path) != self.layers:
            raise ValueError(f"{len(path)} layers given; {self.layers}, H_1 to H_L, are needed")
        N = self.num_samples
        fit = ((path[-1] @ weight.T - self.targets) ** 2).sum() / (2 * N)
        moved = (weight**2).sum() * self.weight_decay / 2
        for before, after in zip([self.features, *path[:-1]], path, strict=True):
            moved = (
                moved + self.transport_decay * self.layers / (2 * N) * ((after - before) ** 2).sum()
            )
        return fit + moved
