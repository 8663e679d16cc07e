"""What an attack is given: samples of a split in memory, bounds of their entries, and the split
that decides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.tap.batches import Unpack, as_loader, describe, unpack_batch
from ncollapse.collect.tap.taps import Taps
from ncollapse.downstream.attacks import L2
from ncollapse.downstream.robustness import Seen, seen
from ncollapse.metrics.leap import Twins


@dataclass(frozen=True, eq=False)
class Pairs:
    """Samples of a split, and what became of their inputs."""

    inputs: Tensor
    labels: Tensor
    twins: Twins | None = None


def collected(
    loader: Any,
    split: str,
    unpack: Unpack | None,
    limit: int | None,
    batch_size: int,
    ignored: int | None,
) -> Pairs:
    """Inputs and labels of a split in memory."""
    parts: list[tuple[Tensor, Tensor]] = []
    count = 0
    for raw in as_loader(loader, batch_size):
        batch = unpack_batch(raw, unpack)
        x = batch.inputs
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise ValueError(
                f"split {split!r} has inputs that are {describe(x)}; an attack needs one tensor "
                "(samples, …) of real numbers to move"
            )
        y = batch.labels.cpu()
        kept = torch.ones_like(y, dtype=torch.bool) if ignored is None else y != ignored
        parts.append((x.detach().cpu()[kept], y[kept]))
        count += len(parts[-1][1])
        if limit is not None and count >= limit:
            break
    if not count:
        raise ValueError(f"split {split!r} is empty; no sample to attack")
    inputs, labels = (torch.cat([part[i] for part in parts])[:limit] for i in range(2))
    return Pairs(inputs, labels)


@dataclass(frozen=True, eq=False)
class Unpacked:
    """A loader of pairs, whatever the loader behind it yields."""

    loader: Any
    unpack: Unpack | None
    batch_size: int

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        for raw in as_loader(self.loader, self.batch_size):
            batch = unpack_batch(raw, self.unpack)
            yield batch.inputs, batch.labels


def reference_seen(
    taps: Taps, loader: Any, unpack: Unpack | None, limit: int | None, batch_size: int
) -> Seen:
    if iter(as_loader(loader, batch_size)) is loader:
        raise ValueError(
            "the reference split is read twice, and its loader can be read once only; pass a "
            "DataLoader, or attack that split too"
        )
    return seen(taps, Unpacked(loader, unpack, batch_size))


def bounds_of(held: Mapping[str, Pairs]) -> tuple[float, float]:
    low = min(float(pair.inputs.min()) for pair in held.values())
    high = max(float(pair.inputs.max()) for pair in held.values())
    if not low < high or not math.isfinite(high - low):
        raise ValueError(
            f"inputs go from {low:.4g} to {high:.4g}, which bounds nothing; pass clip=(low, high)"
        )
    return low, high


def largest_move(clean: Tensor, hostile: Tensor, norm: str) -> float:
    """The largest size by which an input was moved."""
    rows = (hostile - clean).flatten(1)
    size = rows.norm(dim=1).max() if norm == L2 else rows.abs().max()
    if not float(size) > 0:
        raise ValueError("the attack moved no input, so no noise is of its size; pass noise=False")
    return float(size)
