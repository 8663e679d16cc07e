"""Population values of generalised collapse: of class means without their noise."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.metrics.population.frames import CENTRE, _cosines
from ncollapse.metrics.population.sample import Sample


def gnc_cosine(sample: Sample) -> Float[Tensor, ...]:
    """Cosines over pairs, of which the largest is read."""
    return _cosines(sample, False, CENTRE)


def gnc_uniformity(sample: Sample) -> Float[Tensor, ...]:
    """Mean of -½ log(2 - 2 cos) over pairs."""
    return -0.5 * (2 - 2 * _cosines(sample, False, CENTRE)).log().mean(-1)


def gnc_frame(sample: Sample) -> Float[Tensor, ...]:
    """(d/K²) Σ cos² - 1 over all ordered pairs and each class with itself, d the directions that
    the means span."""
    K = sample.num_classes
    cosines = _cosines(sample, False, CENTRE)
    first = (sample.whole or sample).centred.reshape(-1, *sample.means.shape[-2:])[0]
    d = int(torch.linalg.matrix_rank(first))
    return d / K**2 * (K + 2 * (cosines**2).sum(-1)) - 1
