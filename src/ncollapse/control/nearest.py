"""A head that follows its features: the simplex frame nearest to the running class means."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ncollapse.collect.statistics.checks import check_batch
from ncollapse.control.frames import nearest_simplex, simplex_frame
from ncollapse.control.heads import FrameHead


class NearestFrameHead(FrameHead):
    """z = s F h + b, F the simplex frame nearest to the class means: fixed in shape, free to turn.

    A simplex head that nobody has to turn the features towards: at every labelled batch in
    training F becomes √(K/(K-1)) B Q*ᵀ with

        Q* = polar( 2/√(K-1) YᵀB + δ Q_prox ),

    Y the centred class means over their Frobenius norm, B a basis of 1⊥, Q_prox the basis before.
    One thin SVD in d × (K-1), no inner solver; memory O(dK).

    forward(features (samples, d), labels (samples)) in training follows the batch and returns
    logits through which the gradient also reaches F (attached=False: F is a constant of the step).
    forward(features), and evaluation, use F as it stands; `follow(features, labels)` updates it
    apart. Class means are running ones: a share `momentum` of each batch. d ≥ K - 1. scale,
    learn_scale, bias, normalize as for SimplexHead; delta: δ ≥ 0, how much F resists turning, which
    also settles it while some classes have not been seen.

    Raises ValueError for K < 2, d < K - 1, momentum outside (0, 1], δ < 0, labels outside 0..K-1
    and features that are not finite. Source: Markou, Ajanthan, Gould 2024; the closed form is
    derived here.
    """

    means: Tensor
    basis: Tensor
    seen: Tensor

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        scale: float = 1.0,
        learn_scale: bool = False,
        bias: bool | Tensor = False,
        normalize: bool = False,
        momentum: float = 0.1,
        delta: float = 1e-3,
        attached: bool = True,
        seed: int = 0,
    ) -> None:
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum={momentum}; a number in (0, 1] is needed")
        if not 0 <= delta < float("inf"):
            raise ValueError(f"delta={delta}; a number ≥ 0 is needed")
        build = partial(simplex_frame, num_classes, in_features, seed=seed)
        super().__init__(
            build, scale=scale, learn_scale=learn_scale, bias=bias, normalize=normalize
        )
        self.momentum, self.delta, self.attached = momentum, delta, attached
        dtype = torch.get_default_dtype()
        self.register_buffer("means", torch.zeros(num_classes, in_features, dtype=dtype))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))
        self.register_buffer("basis", nearest_simplex(build())[1].to(dtype))

    def forward(
        self,
        features: Tensor,
        labels: Tensor | None = None,
    ) -> Float[Tensor, "samples classes"]:
        features = self.prepare(features)
        if labels is None or not self.training:
            return self.linear(features)
        frame = self._follow(features if self.attached else features.detach(), labels)
        weight = self.linear.scale * frame.to(self.linear.frame)
        return functional.linear(features, weight, self.bias)

    def follow(self, features: Tensor, labels: Tensor) -> Float[Tensor, "classes dim"]:
        """Take in a batch and turn F; returns the new F, differentiable in `features`."""
        return self._follow(self.prepare(features), labels)

    def _follow(self, features: Tensor, labels: Tensor) -> Tensor:
        K = self.out_features
        check_batch(features, labels, K, self.in_features)
        # Half precision would lose the frame; everything here is small.
        with torch.autocast(features.device.type, enabled=False):
            wide = features.to(torch.promote_types(features.dtype, self.means.dtype))
            wide = wide.to(torch.promote_types(wide.dtype, torch.float32))
            means, seen = self._blend(wide, labels)
            centred = torch.where(seen[:, None], means - means[seen].mean(0), 0)
            size = torch.linalg.vector_norm(centred, dtype=torch.float64).to(centred.dtype)
            if not bool(size.isfinite()):
                raise ValueError(
                    "features hold NaN or infinity; lower the learning rate or look for the "
                    "first batch where the loss is not finite"
                )
            rows = centred / size.clamp_min(torch.finfo(centred.dtype).tiny)
            frame, basis = nearest_simplex(rows, self.basis, self.delta)
        with torch.no_grad():
            self.means.copy_(means)
            self.seen.copy_(seen)
            self.basis.copy_(basis)
            # A new tensor: logits made before this call still hold the old one.
            self.linear.frame = frame.detach().to(self.linear.frame)
        return frame

    def _blend(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Running class means with the batch's share in them, and which classes are known."""
        K, d = self.out_features, self.in_features
        if labels.numel() and not bool(((labels >= 0) & (labels < K)).all()):
            raise ValueError(
                f"labels reach from {int(labels.min())} to {int(labels.max())}; class numbers from "
                f"0 to {K - 1} are needed, as num_classes={K} says"
            )
        counts = torch.bincount(labels, minlength=K)
        sums = features.new_zeros(K, d).index_add(0, labels, features)
        batch = sums / counts.clamp_min(1).to(features.dtype)[:, None]
        old = self.means.to(features.dtype)
        share = torch.where(self.seen, self.momentum, 1.0).to(features.dtype)
        share = torch.where(counts > 0, share, 0)[:, None]
        return old + share * (batch - old), self.seen | (counts > 0)

    def extra_repr(self) -> str:
        return f"momentum={self.momentum}, delta={self.delta}"
