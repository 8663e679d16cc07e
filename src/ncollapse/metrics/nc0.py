"""NC0: whether the rows of the classifier cancel, which softmax cannot see and NC3 needs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.geometry import Geometry


def nc0(geometry: Geometry) -> Float[Tensor, ""]:
    """‖Wᵀ1‖²/(K ‖W‖²_F). In [0, 1]: 0 where the rows cancel, 1/K for orthogonal rows of one length,
    1 for identical rows. Ideal 0: without it the head cannot be dual to centred means, because

        1 - NC3²/2 = √(1 - NC0) (1 - NC3c²/2),

    NC3 = `nc3_duality` and NC3c = `nc3_duality_centred`. No loss of softmax(z) depends on Wᵀ1; what
    training makes of it is the law of `theory.subjects.head_sum`. Source: Zhao et al. 2026 for
    ‖Wᵀ1‖²; the scale is ours.
    """
    rows = geometry.weight_rows
    W = rows.matrix
    return W.sum(0).square().sum() / (len(rows) * W.square().sum())


def floor(num_classes: int, num_features: int) -> float:
    """What float32 leaves of rows that cancel: every weight off by ε w/√12 gives ε²/(12 K)."""
    return float(torch.finfo(torch.float32).eps ** 2 / (12 * num_classes))
