"""What measuring a language model on texts will keep, before the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncollapse.measuring.measure import state_estimate
from ncollapse.sources.features.arrays import FeatureSource
from ncollapse.sources.texts.packed import IGNORED


class Promised(FeatureSource):
    """Features that a model has not made yet: how many and how wide, and the classes of all."""

    def __init__(self, labels: Mapping[str, Tensor], weight: Tensor) -> None:
        self.labels = torch.cat(list(labels.values()))
        self.num_samples, self.num_features = self.labels.numel(), int(weight.shape[1])
        self.dtype, self.weight = weight.dtype, weight
        self.splits = tuple(labels)
        sizes = [(place, found.numel()) for place, found in enumerate(labels.values())]
        codes = torch.cat([torch.full((size,), place) for place, size in sizes])
        self.split_codes = codes if len(labels) > 1 else None
        self.tokens = "next"

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        raise ValueError("these features have not been made")


@dataclass(frozen=True)
class Size:
    """sequences and classes: positions that are samples, by split. state: bytes of the statistics;
    features: bytes of what is kept for the second look, in memory or on disk."""

    sequences: Mapping[str, int]
    samples: Mapping[str, int]
    state: int
    features: int

    def __str__(self) -> str:
        parts = [
            f"{name} {self.samples[name]:,} tokens in {count:,} sequences"
            for name, count in self.sequences.items()
        ]
        return (
            f"{'; '.join(parts)}: state about {self.state / 1e6:,.0f} MB, features kept "
            f"{self.features / 1e6:,.0f} MB"
        )


def size_of(splits: Mapping[str, Any], weight: Tensor, **options: Any) -> Size:
    """How large the measurement of texts will be. splits: datasets of sequences with `labels`, as
    `load_texts` gives them or parts of those; weight: of the head; options: of `measure_source`.
    """
    labels: dict[str, Tensor] = {}
    for name, part in splits.items():
        found = torch.stack([part[place]["labels"] for place in range(len(part))])[:, 1:]
        labels[name] = found[found != IGNORED]
    source = Promised(labels, weight.detach())
    features = source.num_samples * source.num_features * source.dtype.itemsize
    return Size(
        {name: len(part) for name, part in splits.items()},
        {name: found.numel() for name, found in labels.items()},
        state_estimate(source, **options),
        features,
    )
