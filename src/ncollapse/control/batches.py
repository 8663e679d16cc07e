"""What the metrics read, from one batch and with gradients: counts, means, spreads, scatter."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.checks import NonFiniteError, check_batch
from ncollapse.collect.statistics import ClassStatistics
from ncollapse.geometry import Geometry


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
    check_features(features, labels)
    keep = labels >= 0
    with torch.autocast(features.device.type, enabled=False):
        present, place = labels[keep].unique(return_inverse=True)
        K = present.numel()
        if K < 2:
            return None
        wide = features[keep].to(torch.float64)
        counts = torch.bincount(place, minlength=K)
        number = counts.to(torch.float64)
        means = wide.new_zeros(K, wide.shape[1]).index_add(0, place, wide) / number[:, None]
        rest = wide - means[place]
        traces = wide.new_zeros(K).index_add(0, place, (rest * rest).sum(1)) / number
        macro = micro = None
        if full:
            share = (1 / (K * number))[place]
            macro = (rest * share[:, None]).T @ rest
            micro = rest.T @ rest / place.numel()
        rows = None if weight is None else weight.to(torch.float64)[present]
        statistics = ClassStatistics(counts, traces, macro, micro, present=present)
        return statistics, Geometry(means, rows, counts=counts)


def check_features(features: Tensor, labels: Tensor | None = None) -> None:
    """Raise ValueError unless features are finite floats (samples, dim), with a label each."""
    stand_in = torch.zeros(features.shape[:1], dtype=torch.int64)
    width = features.shape[-1] if features.dim() else 0
    check_batch(features, stand_in if labels is None else labels, 2, width)
    finite = features.detach().isfinite().all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        if labels is not None:
            raise NonFiniteError(row, int(labels[row]))
        raise ValueError(
            f"features hold NaN or infinity, first in sample {row} of the batch; lower the "
            "learning rate or the weight of the penalty"
        )


def working(features: Tensor) -> Tensor:
    """In at least float32."""
    return features.to(torch.promote_types(features.dtype, torch.float32))
