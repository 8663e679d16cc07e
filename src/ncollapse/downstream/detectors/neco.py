"""NECO: how much of a feature lies in the principal directions of the training features."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.downstream.detectors.base import Detector
from ncollapse.downstream.detectors.reference import Reference

# A unit whose spread is below this share of the widest one, or of its own mean, is dead.
DEAD = 1e-12
SHARE = 0.9


class NECO(Detector):
    """-‖P_dᵀ(z - z̄)‖ / ‖z‖, P_d the d first principal directions of the training features z.

    standardize: z = (h - mean)/std by unit, std with divisor N and 1 for a dead unit (as
    published); center: z = h - mean; neither: z = h, numerator centred and denominator not, so that
    the score depends on the offset of all features. times_maxlogit: times the largest logit, for
    transformers only; a negative one flips the order. dims: how many directions, or (below 1) the
    share of the variance that they hold: .9 by default, the paper's rule of thumb. The authors'
    DeiT and Swin code divides by the norm of h where z is standardised: not followed.
    Range [-1, 0] without the logit where z is centred. z = 0 scores 0.
    Source: Ammar et al., NECO, ICLR 2024, arXiv 2310.06823, eq. 6 (code of pytorch-ood read).
    Raises ValueError for dims outside 1..d or (0, 1), and features that do not vary.
    """

    name, title, source = "neco", "NECO", "Ammar et al. 2024 (code of pytorch-ood read)"

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        dims: float | int = SHARE,
        standardize: bool = True,
        center: bool = True,
        times_maxlogit: bool = False,
        weight: Any = None,
        bias: Any = None,
    ) -> None:
        super().__init__(model, weight=weight, bias=bias)
        if not dims > 0 or (dims > 1 and dims != int(dims)):
            raise ValueError(
                f"dims={dims}; a whole number of directions, or a share of the variance in (0, 1), "
                "is needed"
            )
        self.dims, self.standardize, self.center = dims, standardize, center
        self.times_maxlogit = times_maxlogit

    def _learn(self, reference: Reference) -> None:
        if self.times_maxlogit and self.weight is None:
            raise ValueError(
                "times_maxlogit=True needs the classifier and none is known; pass weight=… and "
                "bias=…, or a model"
            )
        found = reference.summary
        deviation = found.total.diagonal().clamp_min(0).sqrt()
        least = DEAD * torch.maximum(found.mean.abs(), deviation.max())
        scale = torch.ones_like(deviation)
        if self.standardize:
            scale = torch.where(deviation > least, deviation, scale)
        self.scale = scale
        moved = self.standardize or self.center
        self.shift = found.mean if moved else torch.zeros_like(found.mean)
        self.mean = found.mean
        values, vectors = torch.linalg.eigh(found.total / scale / scale[:, None])
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        if not float(values.sum()) > 0:
            raise ValueError("the training features do not vary; NECO has no principal direction")
        self.kept = self._directions(values)
        self.basis = vectors[:, : self.kept]

    def _directions(self, values: Float[Tensor, " dim"]) -> int:
        if self.dims < 1:
            shares = values.cumsum(0) / values.sum()
            return int((shares < self.dims - 1e-12).sum()) + 1
        if self.dims > values.numel():
            raise ValueError(
                f"dims={self.dims} of {values.numel()} features; at most as many directions as "
                "features are needed"
            )
        return int(self.dims)

    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        inside = ((features - self.mean) / self.scale @ self.basis).norm(dim=1)
        whole = ((features - self.shift) / self.scale).norm(dim=1)
        share = torch.where(whole > 0, inside / whole, torch.zeros_like(whole))
        if self.times_maxlogit:
            share = share * self.logits(features).amax(1)
        return -share

    def settings(self) -> dict[str, Any]:
        return {
            "dims": self.kept,
            "standardize": self.standardize,
            "center": self.center,
            "times_maxlogit": self.times_maxlogit,
        }
