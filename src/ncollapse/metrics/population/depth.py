"""Population value of what a layer's means share with the weight that reads them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.linalg import EPSILON
from ncollapse.metrics.alignment import span_share
from ncollapse.metrics.population.sample import COINCIDE, CannotTellError, Sample


def span_alignment(sample: Sample) -> Float[Tensor, ...]:
    """‖U_MᵀV_W‖²_F / r of the means as they are: how noise turns the span is not taken away by
    formula, the jackknife takes what it can."""
    V, M = sample.reads, sample.centred
    if V is None:
        raise CannotTellError("no weight is known that reads these features")
    rank = M.shape[-2] - 1
    if rank >= M.shape[-1]:
        raise CannotTellError("the class means fill all directions, so any weight is aligned")
    quick = span_share(M[..., :-1, :], V)
    if quick is not None:
        return quick
    Q, R = torch.linalg.qr(M[..., :-1, :].to(torch.float64).mT)
    size = R.diagonal(dim1=-2, dim2=-1).abs()
    if float((size.amin(-1) / size.amax(-1)).min()) <= 100 * EPSILON * max(M.shape[-2:]):
        raise CannotTellError(COINCIDE)
    rank = min(rank, len(V))
    return (V[:rank] @ Q).square().sum((-2, -1)) / rank
