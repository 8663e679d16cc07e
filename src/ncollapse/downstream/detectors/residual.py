"""Scores of what lies outside the principal directions of the training features: ViM, residual."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.downstream.detectors.base import Detector
from ncollapse.downstream.detectors.reference import Reference

# Training features that leave less than this share of their length outside leave rounding only.
NOTHING = 1e-12
# Second moments below this share of the largest are of no direction.
OCCUPIED = 1e-12


def usual_dims(occupied: int) -> int:
    """How many principal directions ViM takes: 1000 from 2048 on, 512 from 768 on, else half of
    them (remembered from the authors' code, not read). Ours is to count the directions that
    training features have, so that dead units change nothing."""
    if occupied >= 2048:
        return 1000
    return 512 if occupied >= 768 else max(occupied // 2, 1)


class Residual(Detector):
    """‖Rᵀ(h - u)‖, R the directions beyond the first `dims` of the second moments of training
    features about u = -W⁺b, the point where all logits are as near to 0 as they come.

    dims: `usual_dims` by default. Range ≥ 0.
    Source: Wang et al., ViM, CVPR 2022, arXiv 2203.10807 (code of OpenOOD read).
    Raises ValueError unless 1 ≤ dims < d.
    """

    name, title, source = "residual", "Residual", "Wang et al. 2022 (code of OpenOOD read)"
    needs_head = True

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        dims: int | None = None,
        weight: Any = None,
        bias: Any = None,
    ) -> None:
        super().__init__(model, weight=weight, bias=bias)
        self.dims = dims

    def _learn(self, reference: Reference) -> None:
        assert self.weight is not None
        width = reference.num_features
        self.origin = torch.zeros(width, dtype=torch.float64)
        if self.bias is not None:
            self.origin = -(torch.linalg.pinv(self.weight) @ self.bias)
        values, vectors = torch.linalg.eigh(reference.summary.about(self.origin))
        occupied = int((values > OCCUPIED * values[-1].clamp_min(0)).sum())
        self.kept = usual_dims(occupied) if self.dims is None else self.dims
        if not 1 <= self.kept < width:
            raise ValueError(
                f"dims={self.kept} of {width} features; {self.title} needs at least one direction "
                "and one outside"
            )
        self.outside = vectors[:, : width - self.kept]

    def left(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        """‖Rᵀ(h - u)‖."""
        return ((features - self.origin) @ self.outside).norm(dim=1)

    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        return self.left(features)

    def settings(self) -> dict[str, Any]:
        return {"dims": self.kept}


class ViM(Residual):
    """α ‖Rᵀ(h - u)‖ - log Σ_k e^{z_k}: the residual as one more logit against the energy.

    α makes the residual as large as the largest logit, both in the mean over training features: a
    second look at them.
    Source: Wang et al., ViM, CVPR 2022, arXiv 2203.10807 (code of OpenOOD and pytorch-ood read).
    Raises ValueError where the training features leave nothing outside the first `dims` directions.
    """

    name, title = "vim", "ViM"
    looks = 2

    def _learn(self, reference: Reference) -> None:
        super()._learn(reference)
        largest = outside = whole = 0.0
        for features, _ in reference.blocks():
            largest += float(self.logits(features).amax(1).sum())
            outside += float(self.left(features).sum())
            whole += float((features - self.origin).norm(dim=1).sum())
        if not outside > NOTHING * whole:
            raise ValueError(
                f"the training features lie in their first {self.kept} directions, so that ViM has "
                "nothing to weigh what lies outside by; pass fewer dims"
            )
        self.alpha = largest / outside

    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        return self.alpha * self.left(features) - self.logits(features).logsumexp(1)

    def settings(self) -> dict[str, Any]:
        return {"dims": self.kept, "alpha": self.alpha}
