"""Population value of the head share: a ratio of two numbers that are free of bias."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ncollapse.metrics.head_share import seen_by
from ncollapse.metrics.pencil import congruent
from ncollapse.metrics.population.sample import CannotTellError, Sample


def head_share(sample: Sample) -> Float[Tensor, ...]:
    """tr(P Σ_W)/tr Σ_W; what the classifier spans is known exactly, the directions that features
    occupy are taken as they are."""
    if sample.scatter is None:
        raise CannotTellError("Σ_W was not kept, or nothing varies within classes")
    if sample.head is None:
        raise CannotTellError("no classifier was given")
    apart = bool((sample.centred.detach() != 0).any())
    factor, white = (sample.between_factor, sample.white) if apart else (None, None)
    means, most = sample.centred.detach(), round(sample.freedom)
    try:
        seen = seen_by(sample.head, sample.scatter, means, factor, white, sample.resolution, most)
    except ValueError as error:
        raise CannotTellError(str(error)) from error
    V = seen.span
    left = sample.scatter.detach() @ V * sample.stretch
    rows = V.T if sample.record is None else V.T.clone().requires_grad_()
    inner = congruent(rows, left, V.T @ left, sample.record, V, 1.0)
    return inner.diagonal().sum() / sample.within
