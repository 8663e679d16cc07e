"""Which batches of a loader are this process's, and where its samples stand among all ranks'.

A DistributedSampler has dealt samples already; what it repeats to make ranks even is dropped. A
loader that is the same on every rank is dealt in whole batches, so that every batch is the one
that a single process would run. Loaders that differ are the ranks' own parts.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from ncollapse.collect.ranks.marks import enter
from ncollapse.collect.ranks.ranks import Ranks

log = logging.getLogger("ncollapse")
Sizes = Callable[[Any], int]


@dataclass(frozen=True, eq=False)
class Place:
    """Where a batch's samples stand: order (samples) among all ranks, wanted False for repeats."""

    order: Tensor
    wanted: Tensor


class Done:
    """Samples that an interrupted pass has read: places, labels and marks by split."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def add(self, split: str, order: Tensor, labels: Tensor, marks: Tensor) -> None:
        """Samples of one split, at these places among all."""
        if split in self._held:
            held = zip(self._held[split], (order, labels, marks), strict=True)
            order, labels, marks = (torch.cat(parts) for parts in held)
        order, sort = order.sort()
        self._held[split] = order, labels[sort], marks[sort]

    def left(self, split: str, place: Place, labels: Tensor, marks: Tensor) -> Place:
        """The place with what is done no longer wanted.

        Raises ValueError where a sample that is done has another label or other inputs now.
        """
        if split not in self._held or place.order.numel() == 0:
            return place
        order, known, marked = self._held[split]
        where = torch.searchsorted(order, place.order).clamp(max=order.numel() - 1)
        found = (order[where] == place.order) & place.wanted
        if not torch.equal(known[where[found]], labels.cpu()[found]):
            raise ValueError(
                f"the loader of split {split!r} gives other samples than the run that is resumed; "
                "the same data in the same order are needed, or start without resume"
            )
        other = (marked[where[found]] != marks[found]).nonzero()
        if other.numel():
            row = int(place.order[found][other[0]])
            raise ValueError(
                f"the loader of split {split!r} gives other inputs than the run that is resumed, "
                f"first at sample {row}; the same data with the same preprocessing (nothing random "
                "in it) are needed, or start without resume"
            )
        return Place(place.order, place.wanted & ~found)


@dataclass(frozen=True, eq=False)
class Share:
    """One rank's part of a loader: `batches(limit)` yields (batch, place).

    kind: "sampler", "dealt" or "own".
    """

    loader: Iterable[Any]
    ranks: Ranks
    kind: str
    size_of: Sizes

    @property
    def dataset(self) -> Any:
        """What progress counts."""
        return self.loader.dataset  # type: ignore[attr-defined]

    def batches(
        self, limit: int | None = None, *, even: bool = False
    ) -> Iterator[tuple[Any, Place]]:
        """Batches up to `limit` samples of all ranks; `even`: as many on every rank, the last one
        again where one is missing, with nothing wanted of it."""
        if self.kind == "dealt":
            yield from self._dealt(limit, even)
            return
        sampler = _sampler(self.loader)
        step, first, end = self.ranks.size, self.ranks.rank, None
        if self.kind == "sampler":
            step, first, end = sampler.num_replicas, sampler.rank, len(sampler.dataset)
        if limit is not None:
            end = limit if end is None else min(end, limit)
        done = 0
        for raw in self.loader:
            size = self.size_of(raw)
            order = first + step * torch.arange(done, done + size)
            wanted = order < end if end is not None else torch.ones(size, dtype=torch.bool)
            done += size
            yield raw, Place(order, wanted)
            if end is not None and limit is not None and not bool(wanted.all()):
                return

    def _dealt(self, limit: int | None, even: bool) -> Iterator[tuple[Any, Place]]:
        done, number, mine, last = 0, -1, 0, None
        for number, raw in self._turns():
            size = self.size_of(raw) if raw is not None else self.loader.batch_size  # type: ignore[attr-defined]
            if raw is not None and number % self.ranks.size == self.ranks.rank:
                order = torch.arange(done, done + size)
                wanted = order < limit if limit is not None else torch.ones(size, dtype=torch.bool)
                mine, last = mine + 1, raw
                yield raw, Place(order, wanted)
            done += size
            if limit is not None and done >= limit:
                break
        if even and mine < -(-(number + 1) // self.ranks.size):
            last = next(iter(self.loader)) if last is None else last
            nothing = torch.zeros(self.size_of(last), dtype=torch.bool)
            yield last, Place(torch.zeros(nothing.numel(), dtype=torch.int64), nothing)

    def _turns(self) -> Iterator[tuple[int, Any]]:
        """(number, batch) of all batches; None stands for full batches that need not be read."""
        loader, ranks = self.loader, self.ranks
        plain = (
            type(loader) is DataLoader
            and type(loader.sampler) is SequentialSampler
            and type(loader.batch_sampler) is BatchSampler
        )
        if not plain:
            yield from enumerate(loader)
            return
        assert isinstance(loader, DataLoader)
        batches: list[Any] = list(loader.batch_sampler or ())
        mine = DataLoader(
            loader.dataset,
            batch_sampler=batches[ranks.rank :: ranks.size],
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
        )
        found = iter(mine)
        for number in range(len(batches)):
            yield number, next(found) if number % ranks.size == ranks.rank else None


def shares(loaders: dict[str, Any], ranks: Ranks, size_of: Sizes) -> dict[str, Share]:
    """Every loader's share of this rank: a collective call.

    Raises ValueError on all ranks for loaders that shuffle without a DistributedSampler, and for
    splits that differ.
    """
    names = ranks.gather(tuple(loaders))
    if any(other != tuple(loaders) for other in names):
        raise ValueError(
            f"the ranks were given splits {names}; the same splits in the same order are needed"
        )
    result = {}
    for split, loader in loaders.items():
        with ranks.together():
            sampled = hasattr(_sampler(loader), "num_replicas")
            print_of = None if sampled else _first_print(loader, split)
        prints = ranks.gather((sampled, print_of))
        if sampled:
            kind = "sampler"
            sampler = _sampler(loader)
            left = len(sampler.dataset) - getattr(sampler, "total_size", len(sampler.dataset))
            if left > 0 and ranks.rank == 0:
                log.warning(
                    "split %r: the sampler drops %d of %d samples to make ranks even (drop_last); "
                    "they are not measured",
                    split,
                    left,
                    len(sampler.dataset),
                )
        elif print_of is not None and all(other == prints[0] for other in prints):
            kind = "dealt"
        else:
            kind = "own"
        result[split] = Share(loader, ranks, kind, size_of)
    return result


def check_order(loaders: Mapping[str, Any]) -> None:
    """Raises ValueError for loaders whose order another run would not repeat."""
    for split, loader in loaders.items():
        sampler = _sampler(loader)
        if isinstance(sampler, RandomSampler) or getattr(sampler, "shuffle", False):
            raise ValueError(
                f"the loader of split {split!r} shuffles, so a resumed run could not tell what was "
                "read already; pass shuffle=False to measure with a snapshot"
            )


def _sampler(loader: Any) -> Any:
    """The sampler that knows of ranks, where a loader has one."""
    plain = getattr(loader, "sampler", None)
    inner = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    for found in (plain, inner):
        if all(hasattr(found, name) for name in ("num_replicas", "rank", "dataset")):
            return found
    return plain


def _first_print(loader: Any, split: str) -> str | None:
    """sha256 of a loader's length and first batch; None where it is empty or read once only."""
    if isinstance(_sampler(loader), RandomSampler):
        raise ValueError(
            f"the loader of split {split!r} shuffles without a DistributedSampler, so the ranks "
            "would count samples twice or never; pass shuffle=False, or a DistributedSampler"
        )
    found = iter(loader)
    if found is loader:
        return None
    digest = hashlib.sha256()
    try:
        digest.update(repr(len(loader.dataset)).encode())
    except (AttributeError, TypeError):
        digest.update(b"unknown")
    batch = next(found, None)
    if batch is None:
        return None
    enter(batch, digest)
    return digest.hexdigest()
