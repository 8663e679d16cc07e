"""Files or arrays → statistics per split: one pass for moments, a second look for decisions.

The first pass fills `ClassMoments`; what needs final means (decisions, jackknife blocks) reads
the stored features once more and never runs a model. Snapshots hold every accumulator and the
number of rows consumed, so an interrupted run continues where it stopped, bit for bit.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.plan import Plan
from ncollapse.collect.ranks.parts import PartSource
from ncollapse.collect.ranks.ranks import Ranks, places_in_class, together
from ncollapse.collect.ranks.sync import all_merge, merge_blocks, merge_decisions
from ncollapse.collect.statistics.blocks import BlockMoments
from ncollapse.collect.statistics.checks import NonFiniteError
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.protocol import working_dtype
from ncollapse.record.snapshots import load_snapshot, previous, save_snapshot
from ncollapse.sources.features.arrays import FeatureSource

log = logging.getLogger("ncollapse")
PASSES = ("statistics", "decisions")
# A chunk in work: as read, sorted, shifted, squared, and its float64 differences twice.
CHUNK_COPIES = 8
# Multiplications of a second look up to which it runs in float64: ten seconds of one core.
EXACT_DECISIONS = 2e11


@dataclass
class Split:
    """The accumulators of one split; decisions and blocks exist in the second pass only."""

    name: str
    code: int
    moments: ClassMoments
    decisions: Decisions | None = None
    blocks: BlockMoments | None = None

    def parts(self) -> dict[str, Any]:
        found = {"moments": self.moments, "decisions": self.decisions, "blocks": self.blocks}
        return {name: part for name, part in found.items() if part is not None}


@dataclass
class Collector:
    """Runs the passes over one source. `run()` returns its splits, filled."""

    source: FeatureSource
    plan: Plan
    ranks: Ranks | None = None
    splits: list[Split] = field(init=False)

    def __post_init__(self) -> None:
        source, plan = self.source, self.plan
        self.splits = []
        self._places: Tensor | None = None
        self._exact_decisions = plan.exact
        # The training split leads: its means are the centres that all splits are decided by.
        order = sorted(enumerate(source.splits), key=lambda item: item[1] != "train")
        for code, name in order:
            labels = self._labels(code)
            labels = labels if plan.ignore_index is None else labels[labels != plan.ignore_index]
            counts = torch.bincount(labels, minlength=plan.num_classes)
            counts = counts if self.ranks is None else self.ranks.total(counts)
            if not bool(counts.any()):
                continue
            moments = ClassMoments(
                plan.num_classes,
                source.num_features,
                mode=plan.mode,
                weighting=plan.weighting,
                counts=counts,
                pilots=self._pilots(code),
                memory_budget=plan.memory_budget,
                seed=plan.seed,
                ignore_index=plan.ignore_index,
            )
            if plan.exact and working_dtype(source.dtype) == torch.float32:
                # Exact sums do not make float32 features finer: directions of rounding stay noise.
                moments._resolution = torch.finfo(torch.float32).eps
            self.splits.append(Split(name, code, moments))

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
        total = sum(split.moments.state_bytes for split in self.splits)
        K, d = self.plan.num_classes, self.source.num_features
        if self.plan.decisions:
            head = 0 if self.source.weight is None else 12 * K * d
            total += len(self.splits) * (12 * K * d + head)
        if self._with_blocks():
            total += len(self.splits) * BlockMoments.state_bytes(K, d)
        wide = 8 if self.plan.exact else 4
        return total + CHUNK_COPIES * wide * d * min(self.plan.chunk_rows, self.source.num_samples)

    def _with_blocks(self) -> bool:
        size = BlockMoments.state_bytes(self.plan.num_classes, self.source.num_features)
        return self.plan.intervals and size * len(self.splits) <= self.plan.memory_budget / 2

    # ---- running ------------------------------------------------------------------------------
    def run(self) -> list[Split]:
        """Both passes, resumed from the snapshot where one is asked for and found."""
        current, start = 0, 0
        if self.plan.resume:
            current, start = self._restore()
        with _interruptible(self.plan.snapshot is not None) as interrupted:
            for number in range(current, len(PASSES)):
                if number == 1:
                    if not (self.plan.decisions or self._with_blocks()):
                        break
                    if self.splits[0].decisions is None and self.splits[0].blocks is None:
                        self._begin_second()
                with together(self.ranks):
                    self._scan(number, start, interrupted)
                    if self.ranks is not None and number == 0:
                        # What waits for a full block may hold the sample that stops all.
                        self._flush()
                if self.ranks is not None:
                    self._merge(number, self.ranks)
                start = 0
        return self.splits

    def _flush(self) -> None:
        for split in self.splits:
            try:
                split.moments.flush()
            except NonFiniteError as error:
                raise ValueError(f"{self.source.description}: {error}") from None

    def _merge(self, number: int, ranks: Ranks) -> None:
        """What a pass has found on all ranks, on each of them."""
        for split in self.splits:
            if number == 0:
                split.moments = all_merge(split.moments, ranks.group)
            if split.decisions is not None:
                merge_decisions(split.decisions, ranks.group)
            if split.blocks is not None:
                merge_blocks(split.blocks, ranks.group)

    def _begin_second(self) -> None:
        train = self.splits[0].moments
        counts = train.counts
        present = (counts > 0).nonzero().flatten()
        for split in self.splits:
            if self.plan.decisions:
                split.decisions = Decisions(
                    train.means[present],
                    present,
                    self.plan.num_classes,
                    self.source.weight,
                    self.source.bias,
                )
            if self._with_blocks():
                split.blocks = BlockMoments(split.moments, self.plan.weighting)
                for part in split.blocks.parts:
                    part._resolution = split.moments._resolution
        if self.ranks is not None and self._with_blocks():
            order = self.source.order
            order = torch.arange(self.source.num_samples) if order is None else order
            self._places = places_in_class(
                self.source.labels, self.source.split_codes, order, self.ranks
            )
        # In float64 two products cost twice as much: exact only where that is little.
        cost = float(counts.sum()) * self.plan.num_classes * self.source.num_features
        self._exact_decisions = self.plan.exact and cost <= EXACT_DECISIONS

    def _scan(self, number: int, start: int, interrupted: Callable[[], bool]) -> None:
        total, saved = self.source.num_samples, time.monotonic()
        done = start
        for chunk in self.source.chunks(self.plan.chunk_rows, start):
            rows = torch.arange(chunk.start, chunk.start + chunk.labels.numel())
            for split in self.splits:
                self._take(number, split, chunk.features, chunk.labels, rows)
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

    def _take(
        self, number: int, split: Split, features: Tensor, labels: Tensor, rows: Tensor
    ) -> None:
        codes = self.source.split_codes
        if codes is not None:
            mine = (codes[rows] == split.code).nonzero().flatten()
            if mine.numel() == 0:
                return
            if mine.numel() < labels.numel():
                features, labels, rows = features[mine], labels[mine], rows[mine]
        double = features.double() if self.plan.exact else features
        if number == 0:
            named = rows if self.source.order is None else self.source.order[rows]
            try:
                split.moments.update(double, labels, named)
            except NonFiniteError as error:
                raise ValueError(f"{self.source.description}: {error}") from None
            return
        if self.plan.ignore_index is not None:
            keep = (labels != self.plan.ignore_index).nonzero().flatten()
            if keep.numel() < labels.numel():
                features, double = features[keep], double[keep]
                labels, rows = labels[keep], rows[keep]
        if split.decisions is not None:
            split.decisions.update(double if self._exact_decisions else features, labels)
        if split.blocks is not None:
            places = None if self._places is None else self._places[rows]
            split.blocks.update(double, labels, places)

    # ---- snapshots ----------------------------------------------------------------------------
    def _save(self, number: int, done: int) -> None:
        assert self.plan.snapshot is not None
        tensors: dict[str, Tensor] = {}
        plain: dict[str, Any] = {}
        for split in self.splits:
            for part, accumulator in split.parts().items():
                for key, value in accumulator.state_dict().items():
                    name = f"{split.name}/{part}/{key}"
                    if isinstance(value, Tensor):
                        tensors[name] = value
                    else:
                        plain[name] = value
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
        if number == 1:
            self._load(tensors, header["plain"], ("moments",))
            self._begin_second()
        self._load(tensors, header["plain"], ("moments", "decisions", "blocks"))
        return number, int(header["rows"])

    def _load(
        self, tensors: dict[str, Tensor], plain: dict[str, Any], wanted: tuple[str, ...]
    ) -> None:
        everything = {**plain, **tensors}
        for split in self.splits:
            for part, accumulator in split.parts().items():
                prefix = f"{split.name}/{part}/"
                state = {
                    key.removeprefix(prefix): value
                    for key, value in everything.items()
                    if key.startswith(prefix)
                }
                if part in wanted and state:
                    accumulator.load_state_dict(state)


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
