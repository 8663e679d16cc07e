"""What a model decides of every sample, from the features that enter its head."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from ncollapse.collect.statistics.scores import Scores
from ncollapse.sources.features.arrays import FeatureSource


@torch.no_grad()
def decided_by(source: FeatureSource, rows: int) -> Int[Tensor, " samples"]:
    """argmax(Wh + b) of each row of a source with a head, near-ties settled in float64.

    rows: how many are in work at once. Raises ValueError for a source without a weight.
    """
    if source.weight is None:
        raise ValueError(f"{source.description} has no classifier weight, which decides")
    weight = source.weight.detach().to(torch.float64)
    shift = torch.zeros(len(weight), dtype=torch.float64)
    shift = shift if source.bias is None else source.bias.detach().to(torch.float64)
    head = Scores(weight, shift)
    found = [torch.zeros(0, dtype=torch.int64)]
    for chunk in source.chunks(rows):
        exact = chunk.features.dtype == torch.float64
        work = chunk.features if exact else chunk.features.to(torch.float32)
        norms = torch.linalg.vector_norm(work, dim=1)

        def settled(some: Tensor, features: Tensor = chunk.features) -> Tensor:
            return features[some].to(torch.float64)

        best, _ = head.decide(head.scored(work), norms, None, settled)
        found.append(best)
    return torch.cat(found)
