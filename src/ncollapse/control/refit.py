"""A linear head in closed form, from the class moments of the features that enter it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.linalg import ridge

HEADS = ("least-squares", "nearest")


class RefittedHead(nn.Module):
    """z = W (h - m) + b: m (d) a buffer, W (K, d) and b (K) those of an nn.Linear, to be trained
    further or not. Features are centred first, so nothing is lost where classes lie close together
    and far from the origin."""

    centre: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, centre: Tensor) -> None:
        super().__init__()
        classes, dim = weight.shape
        self.register_buffer("centre", centre)
        self.linear = nn.utils.skip_init(
            nn.Linear, dim, classes, device=weight.device, dtype=weight.dtype
        )
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)

    def forward(self, features: Tensor) -> Float[Tensor, "samples classes"]:
        return torch.as_tensor(self.linear(features.to(self.centre.dtype) - self.centre))


def moments_for(how: str, num_classes: int, dim: int, ignore_index: int | None) -> ClassMoments:
    """What `refitted` needs of the features: sums in O(K d) for nearest centres, in O(d²) more for
    least squares."""
    return ClassMoments(
        num_classes,
        dim,
        mode="trace" if how == "nearest" else "full",
        weighting="micro",
        memory_budget=0,  # One matrix for all classes.
        ignore_index=ignore_index,
    )


def refitted(
    moments: ClassMoments, how: str, level: float, like: Tensor
) -> tuple[RefittedHead, int]:
    """The head that these moments give, of the dtype (float32 or wider) and device of the features
    `like`, and the number of classes present.

    least-squares: W, b minimise Σ_i ‖W (h_i - m) + b - onehot(y_i)‖²/N + λ ‖W‖², m the mean of the
    features, λ = level · tr Cov / d. Then b is the share of each class, and W = (Cov + λ I)⁻¹ C
    transposed, with C = Σ_k (n_k/N)(μ_k - m) e_kᵀ: class moments are all it takes. Logits of a
    sample sum to 1; they are estimates of its one-hot label, not of log-probabilities.
    nearest: W = μ_k - m, b = -‖μ_k - m‖²/2: the largest logit is that of the nearest class mean.

    Classes without a sample are never decided. Raises ValueError for fewer than two classes, and
    features that do not vary.
    """
    present = (moments.counts > 0).nonzero().flatten().cpu()
    if present.numel() < 2:
        raise ValueError(
            f"the data hold samples of {present.numel()} class; a head needs at least two"
        )
    means = moments.geometry().means
    assert means is not None
    share = moments.counts.cpu()[present].to(torch.float64) / moments.num_samples
    centre = share @ means
    apart = means - centre
    if how == "nearest":
        rows, shift, absent = apart, -(apart**2).sum(1) / 2, -torch.inf
    else:
        within = moments.statistics().micro
        assert within is not None
        weighed = share[:, None] * apart
        rows, shift, absent = ridge(within + apart.T @ weighed, weighed.T, level).T, share, 0.0
    weight = torch.zeros(moments.num_classes, moments.num_features, dtype=torch.float64)
    bias = torch.full((moments.num_classes,), absent, dtype=torch.float64)
    weight[present], bias[present] = rows, shift
    dtype = torch.promote_types(like.dtype, torch.float32)
    parts = (tensor.to(device=like.device, dtype=dtype) for tensor in (weight, bias, centre))
    return RefittedHead(*parts), int(present.numel())
