"""Files or arrays → statistics per split: one pass, and a second look for what needs final means.

What is collected a task says (`Wanted`); the second look reads the stored features once more and
never runs a model. Snapshots hold every statistic and the number of rows consumed, so an
interrupted run continues where it stopped, bit for bit.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ncollapse.collect.keep.witness import RowWitness
from ncollapse.collect.plan import Plan
from ncollapse.collect.ranks.parts import PartSource
from ncollapse.collect.ranks.ranks import Ranks, places_in_class, together
from ncollapse.collect.ranks.sync import merge_all
from ncollapse.collect.statistics.checks import NonFiniteError
from ncollapse.collect.statistics.counts import LabelCounts
from ncollapse.collect.statistics.protocol import Batch, Statistic
from ncollapse.record.readings import reference_of
from ncollapse.record.snapshots import load_snapshot, previous, save_snapshot
from ncollapse.sources.features.arrays import FeatureSource

log = logging.getLogger("ncollapse")
PASSES, WITNESS = ("statistics", "decisions"), "witness"
# A chunk in work: as read, sorted, shifted, squared, and its float64 differences twice.
CHUNK_COPIES = 8
Statistics = dict[str, Statistic]


@dataclass(frozen=True, eq=False)
class Part:
    """A split before its first row is read: counts (classes) of all processes, and common pilots
    where several read it."""

    source: FeatureSource
    plan: Plan
    name: str
    counts: Tensor
    pilots: Tensor | None = None


@runtime_checkable
class Wanted(Protocol):
    """What is collected of every split, by name."""

    def first(self, part: Part) -> Statistics:
        """Statistics of the pass."""
        ...

    def second(self, part: Part, found: Mapping[str, Statistics]) -> Statistics:
        """Those of the second look, given what the pass found in each split, the leading one first;
        empty where none is wanted."""
        ...

    def estimate(self, parts: list[Part]) -> int:
        """Bytes that the second look will keep, before the first row is read."""
        ...


@dataclass
class Split:
    """The statistics of one split; those of the second look are there in it only."""

    part: Part
    code: int
    first: Statistics
    second: Statistics = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.part.name

    def statistics(self) -> Statistics:
        return {**self.first, **self.second}


@dataclass
class Collector:
    """Runs the passes over one source. `run()` returns its splits, filled."""

    source: FeatureSource
    plan: Plan
    wanted: Wanted
    ranks: Ranks | None = None
    splits: list[Split] = field(init=False)

    def __post_init__(self) -> None:
        source, plan = self.source, self.plan
        self.splits = []
        self._witness = None if plan.snapshot is None else RowWitness(source, plan.chunk_rows)
        self._places: Tensor | None = None
        # The reference split leads: its means are the centres that all splits are decided by.
        leading = reference_of(source.splits, plan.reference)
        order = sorted(enumerate(source.splits), key=lambda item: item[1] != leading)
        for code, name in order:
            counts = LabelCounts.of(self._labels(code), plan.num_classes, plan.ignore_index).counts
            counts = counts if self.ranks is None else self.ranks.total(counts)
            if bool(counts.any()):
                part = Part(source, plan, name, counts, self._pilots(code))
                self.splits.append(Split(part, code, self.wanted.first(part)))

    def _pilots(self, code: int) -> Tensor | None:
        """First samples of the classes among all processes, so that all subtract the same."""
        if not isinstance(self.source, PartSource) or self.plan.exact:
            return None
        return self.source.first_samples(code, self.plan.num_classes, self.plan.ignore_index)

    def _labels(self, code: int) -> Tensor:
        if self.source.split_codes is None:
            return self.source.labels
        return self.source.labels[self.source.split_codes == code]

    @property
    def state_bytes(self) -> int:
        """Estimate of what all passes keep at once, known before the first row is read."""
        total = sum(one.state_bytes for split in self.splits for one in split.first.values())
        total += self.wanted.estimate([split.part for split in self.splits])
        wide = 8 if self.plan.exact else 4
        rows = min(self.plan.chunk_rows, self.source.num_samples)
        return total + CHUNK_COPIES * wide * self.source.num_features * rows

    # ---- running ------------------------------------------------------------------------------
    def run(self) -> list[Split]:
        """Both passes, resumed from the snapshot where one is asked for and found."""
        current, start = 0, 0
        if self.plan.resume:
            current, start = self._restore()
        with _interruptible(self.plan.snapshot is not None) as interrupted:
            for number in range(current, len(PASSES)):
                if number == 1:
                    if not any(split.second for split in self.splits):
                        self._begin_second()
                    if not any(split.second for split in self.splits):
                        break
                with together(self.ranks):
                    self._scan(number, start, interrupted)
                    if self.ranks is not None:
                        # What waits for a full block may hold the sample that stops all.
                        self._flush(number)
                if self.ranks is not None:
                    self._merge(number, self.ranks)
                start = 0
        return self.splits

    def _of_pass(self, number: int, split: Split) -> Statistics:
        return split.second if number else split.first

    def _flush(self, number: int) -> None:
        for split in self.splits:
            for statistic in self._of_pass(number, split).values():
                with self._named():
                    statistic.flush()

    def _merge(self, number: int, ranks: Ranks) -> None:
        """What a pass has found on all ranks, on each of them."""
        held = [self._of_pass(number, split) for split in self.splits]
        merged = iter(merge_all([one for own in held for one in own.values()], ranks.group))
        for own in held:
            own.update({name: next(merged) for name in own})

    def _begin_second(self) -> None:
        found = {split.name: split.first for split in self.splits}
        for split in self.splits:
            split.second = self.wanted.second(split.part, found)
        if self.ranks is not None and any(split.second for split in self.splits):
            order = self.source.order
            order = torch.arange(self.source.num_samples) if order is None else order
            self._places = places_in_class(
                self.source.labels, self.source.split_codes, order, self.ranks
            )

    def _scan(self, number: int, start: int, interrupted: Callable[[], bool]) -> None:
        total, saved = self.source.num_samples, time.monotonic()
        done = start
        chunks = self.source.chunks(self.plan.chunk_rows, start)
        for chunk in chunks if self._witness is None else self._witness.watched(chunks):
            rows = torch.arange(chunk.start, chunk.start + chunk.labels.numel())
            self._take(number, self._batch(chunk.features, chunk.labels, rows), rows)
            done = chunk.start + chunk.labels.numel()
            if self.plan.progress is not None:
                self.plan.progress(PASSES[number], done, total)
            if self.plan.snapshot is None:
                continue
            if interrupted():
                self._save(number, done)
                raise KeyboardInterrupt
            if time.monotonic() - saved > self.plan.snapshot_every:
                self._save(number, done)
                saved = time.monotonic()
        if self.plan.snapshot is not None and interrupted():
            self._save(number, done)
            raise KeyboardInterrupt

    def _batch(self, features: Tensor, labels: Tensor, rows: Tensor) -> Batch:
        wide = features.double() if self.plan.exact else features
        named = rows if self.source.order is None else self.source.order[rows]
        places = None if self._places is None else self._places[rows]
        decided = self.source.decided
        decided = None if decided is None else decided[rows]
        targets = None if self.source.targets is None else self.source.targets[rows]
        return Batch(wide, labels, named, features, places, decided, targets)

    def _take(self, number: int, batch: Batch, rows: Tensor) -> None:
        """Deal a batch to its splits; the second look is at samples that count only."""
        codes = self.source.split_codes
        for split in self.splits:
            mine = batch
            if codes is not None:
                mine = batch.select((codes[rows] == split.code).nonzero().flatten())
            if number and self.plan.ignore_index is not None:
                mine = mine.select((mine.labels != self.plan.ignore_index).nonzero().flatten())
            if mine.labels.numel() == 0:
                continue
            for statistic in self._of_pass(number, split).values():
                with self._named():
                    statistic.take(mine)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """A sample that is not finite, with the source that it is of."""
        try:
            yield
        except NonFiniteError as error:
            raise ValueError(f"{self.source.description}: {error}") from None

    # ---- snapshots ----------------------------------------------------------------------------
    def _save(self, number: int, done: int) -> None:
        assert self.plan.snapshot is not None
        assert self._witness is not None
        tensors: dict[str, Tensor] = {WITNESS: self._witness.state()}
        plain: dict[str, Any] = {}
        for split in self.splits:
            for part, statistic in split.statistics().items():
                for key, value in statistic.state_dict().items():
                    where = tensors if isinstance(value, Tensor) else plain
                    where[f"{split.name}/{part}/{key}"] = value
        header = {
            "kind": "measure",
            "pass": number,
            "rows": done,
            "fingerprint": self.plan.fingerprint(self.source),
            "plain": plain,
        }
        save_snapshot(self.plan.snapshot, tensors, header)
        log.info("snapshot after %d rows of pass %s", done, PASSES[number])

    def _restore(self) -> tuple[int, int]:
        path = self.plan.snapshot
        if path is None or not (path.exists() or previous(path).exists()):
            log.info("nothing to resume: starting from the first row")
            return 0, 0
        tensors, header = load_snapshot(path)
        mine = self.plan.fingerprint(self.source)
        theirs = header.get("fingerprint", {})
        if theirs != mine:
            keys = sorted(key for key in mine if theirs.get(key) != mine[key])
            raise ValueError(
                f"the snapshot {path} was made with another {', '.join(keys)}; resume with the "
                "same data and options, or delete it to start anew"
            )
        number = int(header["pass"])
        assert self._witness is not None
        self._witness.load(tensors.pop(WITNESS))
        self._witness.check(int(header["rows"]))
        state = {**header["plain"], **tensors}
        for split in self.splits:
            _load(split.name, split.first, state)
        if number == 1:
            self._begin_second()
            for split in self.splits:
                _load(split.name, split.second, state)
        return number, int(header["rows"])


def _load(split: str, statistics: Statistics, state: Mapping[str, Any]) -> None:
    for part, statistic in statistics.items():
        prefix = f"{split}/{part}/"
        mine = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if mine:
            statistic.load_state_dict(mine)


@contextmanager
def _interruptible(wanted: bool) -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back to the end of the chunk in hand, so that a snapshot is never half an
    update. A second Ctrl-C acts at once."""
    pressed: list[int] = []
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def hold(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    signal.signal(signal.SIGINT, hold)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
