"""What enters the classifier of a network, and what it reads under labels of one's choice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncollapse.collect.ranks.ranks import Ranks, together
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.lab.data import Data
from ncollapse.measuring.measure import measure_features
from ncollapse.record.readings import Null


@dataclass(frozen=True, eq=False)
class Features:
    """What enters the classifier on a split, its labels, and the classifier."""

    features: Float[Tensor, "samples dim"]
    labels: Int[Tensor, " samples"]
    weight: Float[Tensor, "classes dim"]
    bias: Float[Tensor, " classes"] | None


def features_of(model: nn.Module, data: Data, split: str, ranks: Ranks | None = None) -> Features:
    """Features of a split in its order; collective where there are ranks."""
    taps = Taps(model)
    loaders = {split: data.loader(split)}
    stream = ModelStream(taps, loaders, batch_size=data.evaluation_batch, ranks=ranks)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with together(ranks):
        for batch in stream:
            rows = batch.features[HEAD].detach().cpu().clone()
            order = torch.empty(0) if batch.order is None else batch.order
            parts.append((rows, batch.labels.cpu(), order))
    head = taps.head
    if ranks is not None:
        shared = ranks.gather((parts, head))
        parts = [part for found, _ in shared for part in found]
        head = next(found for _, found in shared if found is not None)
    assert head is not None
    features, labels, orders = (torch.cat([part[place] for part in parts]) for place in range(3))
    if ranks is not None:
        order = torch.argsort(orders)
        features, labels = features[order], labels[order]
    bias = None if head.bias is None else head.bias.detach().cpu()
    return Features(features, labels, head.weight.detach().cpu(), bias)


def read_under(seen: Features, labels: Int[Tensor, " samples"]) -> dict[str, float]:
    """nc1_fisher under these labels with the mean of its null for shuffled ones, and accuracy."""
    found = measure_features(
        seen.features,
        labels,
        weight=seen.weight,
        bias=seen.bias,
        keys=("nc1_fisher", "accuracy"),
        intervals=False,
    ).results["train"]["head"]
    null = found["nc1_fisher"].null
    assert isinstance(null, Null)
    return {
        "nc1": float(found["nc1_fisher"].value or math.nan),
        "null": float(null.mean),
        "accuracy": float(found["accuracy"].value or 0.0),
    }
