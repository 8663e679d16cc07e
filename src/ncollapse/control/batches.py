"""What the metrics read, from one batch and with gradients: counts, means, spreads, scatter."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.checks import NonFiniteError, check_batch
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.control.frames import into_complement
from ncollapse.geometry import Geometry
from ncollapse.linalg import EPSILON

CURE = "finite ones are needed: lower the learning rate or the weight of the penalty"


def batch_statistics(
    features: Tensor,
    labels: Tensor,
    weight: Float[Tensor, "classes dim"] | None = None,
    *,
    full: bool = True,
) -> tuple[ClassStatistics, Geometry] | None:
    """Statistics and geometry of the classes in a batch, in float64, differentiable in everything.

    features: (samples, d); labels: (samples), integers, of which negative ones (ignore_index) are
    left out; weight: the head's, of which the rows of classes in the batch are kept. The same
    objects that `ClassMoments` gives for a whole data set, so every metric of the catalog evaluates
    on them. full=False leaves out Σ_W (d, d). None where the batch holds fewer than two classes,
    which have no geometry.

    Raises ValueError for shapes that disagree and for features that are not finite.
    """
    with torch.autocast(features.device.type, enabled=False):
        parts = _parts(features, labels)
        if parts is None:
            return None
        present, place, number, means, rest = parts
        K = present.numel()
        traces = rest.new_zeros(K).index_add(0, place, (rest * rest).sum(1)) / number
        macro = micro = None
        if full:
            macro = (rest * (1 / (K * number))[place][:, None]).T @ rest
            micro = rest.T @ rest / place.numel()
        rows = None if weight is None else weight.to(torch.float64)[present]
        counts = number.to(torch.int64)
        statistics = ClassStatistics(counts, traces, macro, micro, present=present)
        return statistics, Geometry(means, rows, counts=counts)


def batch_fisher(features: Tensor, labels: Tensor) -> Float[Tensor, ""] | None:
    """nc1_fisher of a batch without any d × d matrix: ‖P R A⁺‖²/K, R the deviations from class
    means, P their weights' roots, AᵀA = Σ_B.

    In a basis of 1⊥ the centred means have full row rank, so A⁺ comes from a thin QR, whose
    derivative equal singular values do not disturb: O(n d K) where the scatter costs d³. None where
    that rank is missing (d < K - 1, or means that coincide) or the batch holds one class.
    """
    with torch.autocast(features.device.type, enabled=False):
        parts = _parts(features, labels)
        if parts is None or parts[0].numel() - 1 > features.shape[1]:
            return None
        _, place, number, means, rest = parts
        if not apart(means):
            return None
        K = number.numel()
        basis, upper = torch.linalg.qr(into_complement(means).T / K**0.5)
        pivots = upper.detach().diagonal().abs()
        if not bool(pivots.min() > EPSILON * max(means.shape) * pivots.max()):
            return None
        weighed = rest @ basis * (K * number).rsqrt()[place][:, None]
        whitened = torch.linalg.solve_triangular(upper, weighed.T, upper=True)
        return (whitened * whitened).sum() / K


Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _parts(features: Tensor, labels: Tensor) -> Parts | None:
    """Classes present, each sample's place among them, counts, means, and deviations."""
    check_features(features, labels)
    keep = labels >= 0
    present, place = labels[keep].unique(return_inverse=True)
    K = present.numel()
    if K < 2:
        return None
    wide = features[keep].to(torch.float64)
    number = torch.bincount(place, minlength=K).to(torch.float64)
    means = wide.new_zeros(K, wide.shape[1]).index_add(0, place, wide) / number[:, None]
    return present, place, number, means, wide - means[place]


def check_features(features: Tensor, labels: Tensor | None = None) -> None:
    """Raise ValueError unless features are finite floats (samples, dim), with a label each."""
    stand_in = torch.zeros(features.shape[:1], dtype=torch.int64)
    width = features.shape[-1] if features.dim() else 0
    check_batch(features, stand_in if labels is None else labels, 2, width)
    finite = features.detach().isfinite().all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        if labels is not None:
            raise NonFiniteError(row, int(labels[row]), CURE)
        raise ValueError(
            f"features hold NaN or infinity, first in sample {row} of the batch; {CURE}"
        )


# Class means closer than this share of their length coincide: what is left is rounding.
COINCIDE = 1e-12


def apart(means: Float[Tensor, "classes dim"]) -> bool:
    """Whether not all class means of a batch coincide."""
    means = means.detach()
    return bool((means - means[:1]).abs().max() > COINCIDE * means.abs().max())


def guarded(features: Tensor) -> Tensor:
    """The same features, through which no gradient passes that is infinite or not a number: one
    such step destroys the weights. Functions of a batch have points without a derivative (means
    that coincide, a zero row); there the batch cannot tell, and moves nothing."""
    if not features.requires_grad:
        return features
    alias = features.view_as(features)
    alias.register_hook(_finite_or_zero)
    return alias


def _finite_or_zero(grad: Tensor | None) -> Tensor | None:
    return None if grad is None else torch.where(grad.isfinite(), grad, 0)


def nothing(features: Tensor) -> Float[Tensor, ""]:
    """0, with gradient 0."""
    return (0 * working(features)).sum()


def working_dtype(features: Tensor) -> torch.dtype:
    """The dtype of features, but at least float32."""
    return torch.promote_types(features.dtype, torch.float32)


def working(features: Tensor) -> Tensor:
    """In at least float32."""
    return features.to(working_dtype(features))
