"""Scores of a feature's place between the classifier's rows: NCI and fDBD."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.downstream.detectors.base import Detector
from ncollapse.downstream.detectors.reference import Reference


class _Centred(Detector):
    """Of the head and the mean of all training features."""

    needs_head = True

    def _learn(self, reference: Reference) -> None:
        self.mean = reference.summary.mean

    def _apart(self, features: Float[Tensor, "samples dim"]) -> tuple[Tensor, Tensor]:
        """h - μ and its length, 1 where it is zero: such a sample scores nothing."""
        centred = features - self.mean
        length = centred.norm(dim=1)
        return centred, torch.where(length > 0, length, torch.ones_like(length))


class NCI(_Centred):
    """-(<w_k, h - μ>/‖h - μ‖ + α ‖h‖₁), k the predicted class, μ the mean of training features.

    ‖w_k‖ is not divided out and h in the norm is raw: the score scales with W, and α counts in
    units of the features, so that a large one can invert the order. α ≤ 0 is none.
    Source: Liu & Qin, CVPR 2025, arXiv 2311.01479 (code of OpenOOD and pytorch-ood read).
    """

    name, title, source = "nci", "NCI", "Liu & Qin 2025 (code of OpenOOD read)"

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        alpha: float = 0.0,
        weight: Any = None,
        bias: Any = None,
    ) -> None:
        super().__init__(model, weight=weight, bias=bias)
        self.alpha = max(float(alpha), 0.0)

    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        assert self.weight is not None
        rows = self.weight[self.logits(features).argmax(1)]
        centred, length = self._apart(features)
        return -((rows * centred).sum(1) / length + self.alpha * features.abs().sum(1))

    def settings(self) -> dict[str, Any]:
        return {"alpha": self.alpha}


class FDBD(_Centred):
    """-mean over c ≠ k of (z_k - z_c)/‖w_k - w_c‖, over ‖h - μ‖; k the predicted class.

    The mean distance to the decision boundaries, for the distance to the mean of training features.
    Does not depend on the scale of W. Classes whose rows coincide have no boundary: left out.
    Source: Liu & Qin, ICML 2024, arXiv 2312.11536 (code of OpenOOD and pytorch-ood read).
    """

    name, title, source = "fdbd", "fDBD", "Liu & Qin 2024 (code of OpenOOD read)"

    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        assert self.weight is not None
        logits = self.logits(features)
        best, decided = logits.max(1)
        classes, place = decided.unique(return_inverse=True)
        apart = torch.cdist(
            self.weight[classes],
            self.weight,
            compute_mode="donot_use_mm_for_euclid_dist",
        )[place]
        there = apart > 0
        gaps = torch.where(there, (best[:, None] - logits) / torch.where(there, apart, 1.0), 0.0)
        _, length = self._apart(features)
        return -gaps.sum(1) / there.sum(1).clamp_min(1) / length
