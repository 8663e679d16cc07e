"""Features of several sets of data in one forward pass over a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.tap.batches import Unpack
from ncollapse.collect.tap.pooling import Pool
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import HEAD, Taps

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class ReadSets:
    """By name, features (samples, dim) and labels (samples) on the CPU, samples labelled -100 left
    out; weight and bias of the head, where what enters it was read; source: the model's name."""

    sets: dict[str, tuple[Tensor, Tensor]]
    weight: Tensor | None
    bias: Tensor | None
    source: str


def read_sets(
    model: nn.Module,
    sets: Mapping[str, Any],
    *,
    layer: str | None = None,
    head: str | nn.Module | None = None,
    pool: Pool | dict[str, Pool] = "auto",
    unpack: Unpack | None = None,
    limit: int | None = None,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> ReadSets:
    """What enters the head, or the output of `layer`, of every set; up to `limit` samples of each.
    Raises ValueError as `measure` does for models and data."""
    wanted: str | nn.Module | bool | None = head if layer is None else False
    taps = Taps(model, None if layer is None else [layer], head=wanted, pool=pool)
    stream = ModelStream(
        taps, dict(sets), unpack=unpack, limit=limit, batch_size=batch_size, progress=progress
    )
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in sets}
    for batch in stream:
        rows = batch.features[HEAD if layer is None else layer].detach().cpu().clone()
        known = batch.labels.cpu() != -100
        found[batch.split].append((rows[known], batch.labels.cpu()[known]))
    read = {
        name: (torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))
        for name, parts in found.items()
    }
    known_head = taps.head
    return ReadSets(
        read,
        None if known_head is None else known_head.weight.detach().cpu(),
        None if known_head is None or known_head.bias is None else known_head.bias.detach().cpu(),
        type(taps.model).__name__,
    )
