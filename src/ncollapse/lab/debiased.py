"""NC1 without the noise of class means: numerator and denominator each unbiased."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.lab.models import penultimate
from ncollapse.lab.networks import Network
from ncollapse.metrics.population.nc1 import nc1_ratio
from ncollapse.metrics.population.sample import CannotTellError, Sample


def debiased_ratio(
    features: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"]
) -> float:
    """s̄ / (tr Σ̂_B - (K-1)/K² Σ_c s_c/n_c), the ratio tr Σ_W / tr Σ_B of the population.

    s_c = SS_c/(n_c - 1) is unbiased for the spread of class c (a class of one sample borrows the
    pooled one), s̄ its mean over classes, and tr Σ̂_B the mean squared distance of class means to
    their mean, which noise s_c/n_c of the means lifts by the second term. Unitless, ideal 0; nan
    where class means are no further apart than their noise, so that there is nothing to divide by.
    Raises ValueError for fewer than two classes, or one sample in each.
    """
    classes, place = labels.unique(return_inverse=True)
    K, count = classes.numel(), torch.bincount(place).double()
    if K < 2 or int(count.max()) < 2:
        raise ValueError(
            f"{K} classes, at most {int(count.max()) if K else 0} samples in one; at least 2 "
            "classes, and one of 2 samples, are needed"
        )
    moments = ClassMoments(K, features.shape[1], mode="trace")
    moments.update(features.double(), place)
    try:
        return float(nc1_ratio(Sample.of(moments.statistics(), moments.geometry(), "macro")))
    except CannotTellError:
        return math.nan


def nc1_debiased(network: Network) -> float:
    """`debiased_ratio` of what enters the head, on the training split."""
    return debiased_ratio(penultimate(network.model, network.data.train_x), network.data.train_y)
