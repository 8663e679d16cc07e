"""The processes that measure together: what one knows all know, and what stops one stops all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ncollapse.collect.ranks.sync import explained, in_group, total
from ncollapse.sources.features.arrays import FeatureSource


@dataclass(frozen=True)
class Ranks:
    """The process group that this process measures in: its rank, and how many there are.

    Every method is a collective: all ranks call it, in the same order.
    """

    rank: int
    size: int
    group: Any = None

    @classmethod
    def current(cls, group: Any = None) -> Ranks | None:
        """The initialised group, or None for a process on its own."""
        if not in_group(group):
            return None
        return cls(dist.get_rank(group), dist.get_world_size(group), group)

    def gather(self, value: Any) -> list[Any]:
        """What every rank passes, in rank order. RuntimeError where a rank is gone."""
        found: list[Any] = [None] * self.size
        with explained("an exchange between ranks"):
            dist.all_gather_object(found, value, group=self.group)
        return found

    def total(self, values: Tensor) -> Tensor:
        """Sum over ranks."""
        return total(values, self.group)

    def from_rank(self, rank: int, value: Any) -> Any:
        """What one rank passes."""
        held = [value if self.rank == rank else None]
        with explained("a message between ranks"):
            source = rank if self.group is None else dist.get_global_rank(self.group, rank)
            dist.broadcast_object_list(held, src=source, group=self.group)
        return held[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work that each rank does alone: an error of one is raised on all when the last is done.

        Raises ValueError that names the rank.
        """
        fault: Exception | None = None
        try:
            yield
        except Exception as error:
            fault = error
        said = None if fault is None else f"{type(fault).__name__}: {fault}"
        if isinstance(fault, ValueError):
            said = str(fault)
        found = self.gather(said)
        for rank, text in enumerate(found):
            if text is not None:
                raise ValueError(f"rank {rank}: {text}") from fault


@contextmanager
def together(ranks: Ranks | None) -> Iterator[None]:
    """`ranks.together()`, or nothing for a process on its own."""
    if ranks is None:
        yield
        return
    with ranks.together():
        yield


class WholeLabels:
    """Labels, splits and head of the source that all ranks hold parts of: enough to count classes.

    One row for each pair of split and label that some rank has.
    """

    def __init__(self, source: FeatureSource, ranks: Ranks) -> None:
        codes = source.split_codes
        codes = torch.zeros_like(source.labels) if codes is None else codes
        pairs = torch.stack([codes, source.labels], 1).unique(dim=0)
        found = ranks.gather((pairs, source.splits, source.num_samples))
        rows = torch.cat([part for part, _, _ in found]).unique(dim=0)
        if any(splits != source.splits for _, splits, _ in found):
            raise ValueError(
                f"the ranks hold splits {[splits for _, splits, _ in found]}; the same names in "
                "the same order are needed on every rank"
            )
        self.labels, self.splits = rows[:, 1].contiguous(), source.splits
        self.split_codes = rows[:, 0].contiguous() if len(source.splits) > 1 else None
        self.num_samples = sum(number for _, _, number in found)
        self.weight, self.description = source.weight, source.description
        self.thresholds, self.link = source.thresholds, source.link
        self.tokens = source.tokens
        given = [part for part in ranks.gather(source.targets) if part is not None]
        self.targets = torch.cat(given) if given else None


def common_fingerprint(source: FeatureSource, ranks: Ranks) -> str:
    """sha256 over all ranks' data, in rank order."""
    mine = source.fingerprint if source.num_samples else ""
    return hashlib.sha256("".join(ranks.gather(mine)).encode()).hexdigest()


def places_in_class(labels: Tensor, codes: Tensor | None, order: Tensor, ranks: Ranks) -> Tensor:
    """Per sample of this rank: how many of its split and class come before it among all ranks.

    What deals samples to the jackknife's blocks as one process would.
    """
    codes = torch.zeros_like(labels) if codes is None else codes
    found = ranks.gather((labels, codes, order))
    everything = [torch.cat(parts) for parts in zip(*found, strict=True)]
    all_labels, all_codes, all_order = everything
    key = all_codes * (int(all_labels.max()) + 2) + all_labels + 1
    # Stable sorts: by place first, then by class, so that a class's samples stand in order.
    by_place = torch.argsort(all_order, stable=True)
    sorted_rows = by_place[torch.argsort(key[by_place], stable=True)]
    keys = key[sorted_rows]
    starts = torch.searchsorted(keys, keys)
    places = torch.empty_like(keys)
    places[sorted_rows] = torch.arange(keys.numel()) - starts
    begin = sum(part[0].numel() for part in found[: ranks.rank])
    return places[begin : begin + labels.numel()]
