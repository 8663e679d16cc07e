"""A last linear layer that makes no logits but an embedding is not taken for a classifier."""

from __future__ import annotations

import torch

from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.measuring.ids import whole
from ncollapse.sources.features.arrays import FeatureSource

LOOKED_AT = 4096


def check_classifier(
    source: FeatureSource, name: str, ignore_index: int | None, ranks: Ranks | None = None
) -> None:
    """Raises ValueError where the layer that was guessed to be the head is wider than the labels
    have classes and decides no better than chance, on the first samples: a classifier of more
    classes than occur decides well, one that is not trained yet is to be named."""
    assert source.weight is not None
    labels = whole(source, ranks).labels
    kept = labels if ignore_index is None else labels[labels != ignore_index]
    width = source.weight.shape[0]
    if kept.numel() == 0 or int(kept.max()) + 1 >= width or int(kept.min()) < 0:
        return
    seen = right = 0
    for rows in source.rows(0, LOOKED_AT):
        weight, features = source.weight.double(), rows.double()
        logits = features @ weight.T
        logits = logits if source.bias is None else logits + source.bias.double()
        mine = source.labels[: rows.shape[0]]
        counted = torch.ones_like(mine, dtype=torch.bool)
        if ignore_index is not None:
            counted = mine != ignore_index
        right = int((logits.argmax(1) == mine)[counted].sum())
        seen = int(counted.sum())
        break
    if ranks is not None:
        seen, right = ranks.total(torch.tensor([seen, right])).tolist()
    classes = kept.unique().numel()
    if classes < 2:
        return  # Said with what classes there are, later.
    if right > seen / classes + 3 * (seen / classes) ** 0.5:
        return
    raise ValueError(
        f"the last linear layer {name!r} is {width} wide, labels have {int(kept.max()) + 1} "
        f"classes, and {right} of {seen} samples are decided rightly, no more than by chance: it "
        f"seems to make an embedding; pass head=False and layers=[{name!r}] to measure what it "
        f"makes, or head={name!r} if it is the classifier"
    )
