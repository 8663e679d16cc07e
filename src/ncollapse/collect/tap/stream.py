"""Model and loaders → batches of features per layer, in one forward pass that leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ncollapse.collect.ranks.marks import sample_marks
from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.collect.ranks.shares import Done, Place, Share, shares
from ncollapse.collect.tap.batches import (
    Batch,
    Tokens,
    Unpack,
    as_loader,
    describe,
    unpack_batch,
)
from ncollapse.collect.tap.calls import Calls
from ncollapse.collect.tap.decoders import decoder_batch, decodes, encoder_layers, is_decoded
from ncollapse.collect.tap.heads import is_sharded
from ncollapse.collect.tap.ordered import thresholds_of
from ncollapse.collect.tap.preserve import preserved, uncompiled
from ncollapse.collect.tap.taps import Taps
from ncollapse.collect.tap.tokens import AUTO, found_kind, token_batch, token_order

SOURCE = "it is the encoder's and sees the source, while samples are tokens of the target"
Progress = Callable[[str, int, int], None]


@runtime_checkable
class Heard(Protocol):
    """Who hears the batches of a pass as they are read."""

    def begin(self) -> None: ...

    def take(self, split: str, batch: Batch) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """One batch: split name, labels (samples) or numbers (samples, n) in their place, features
    (samples, dim) by layer. order (samples): their places among those of all ranks, where several
    measure together. marks (samples): what their inputs are known by, where the pass is kept."""

    split: str
    labels: Tensor
    features: dict[str, Tensor]
    order: Tensor | None = None
    marks: Tensor | None = None


@dataclass
class ModelStream:
    """Runs `taps` over loaders, split after split.

    `limit` stops each split after so many samples; `autocast` is a dtype for mixed precision;
    `unpack` maps unusual batches to (inputs, labels). With `tokens` ("next", "same") every token is
    a sample, and `limit` counts sequences; "auto" asks model and first batch. With `ranks` each
    runs its share; `done` holds what an interrupted pass has read already; with `numbers` labels
    may be real-valued targets; labels of a `foreign` data set are not held against the head;
    `heard` is told of every batch as it is read. The model runs in eval mode, without gradients
    but not in inference mode: tables that it makes in its forward pass must serve the next training
    step. Its mode and buffers and the global random states are put back.

    Raises ValueError for empty loaders, unexpected batches and labels beyond the head's width.
    """

    taps: Taps
    loaders: Mapping[str, Any]
    unpack: Unpack | None = None
    limit: int | None = None
    batch_size: int = 128
    autocast: torch.dtype | None = None
    ignore_index: int | None = -100
    progress: Progress | None = None
    tokens: str | None = None
    ranks: Ranks | None = None
    done: Done | None = None
    numbers: bool = False
    heard: Heard | None = None
    foreign: bool = False

    def __post_init__(self) -> None:
        if not self.loaders:
            raise ValueError("no data was passed; a loader, or train=… and test=…, is needed")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit={self.limit}; at least 1 sample a split is needed")
        self._calls = Calls(self.taps.model)
        self.loaders = {
            split: as_loader(data, self.batch_size) for split, data in self.loaders.items()
        }
        if self.ranks is not None:
            with preserved(self.taps.model):
                self.loaders = shares(dict(self.loaders), self.ranks, self._size)

    @property
    def one_shot(self) -> bool:
        """Whether a loader can be read once only."""
        plain = (x.loader if isinstance(x, Share) else x for x in self.loaders.values())
        # To ask a DataLoader for an iterator draws from the global generator.
        return any(not isinstance(one, DataLoader) and iter(one) is one for one in plain)

    def labels(self) -> Iterator[tuple[str, Tensor]]:
        """Labels of every batch, without running the model."""
        for split, labels, _ in self.placed():
            yield split, labels

    def placed(self) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """As `labels`, with the samples' places among those of all ranks."""
        with preserved(self.taps.model):
            for split, _, batch, place, _ in self._batches():
                if place is None:
                    yield split, batch.labels, None
                else:
                    yield split, batch.labels[place.wanted], place.order[place.wanted]

    def __iter__(self) -> Generator[FeatureBatch, None, None]:
        device = device_of(self.taps.model)
        with preserved(self.taps.model), self.taps:
            for split, start, batch, place, marks in self._batches():
                try:
                    features = self._features(batch, device)
                except ValueError as error:
                    if not self.taps.once_more(error):
                        raise
                    features = self._features(batch, device)
                self._check_labels(batch.labels, split, start)
                if place is None:
                    yield FeatureBatch(split, batch.labels, features)
                    continue
                kept = place.wanted.nonzero().flatten()
                labels = batch.labels[kept]
                features = {name: rows[kept.to(rows.device)] for name, rows in features.items()}
                marks = None if marks is None else marks[kept]
                yield FeatureBatch(split, labels, features, place.order[kept], marks)

    def _features(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        self.taps.begin(batch.labels.shape[0], batch.mask, batch.tokens)
        with (
            torch.no_grad(),
            self._mixed(device),
            explained(batch.inputs),
            uncompiled(),
            self.taps.products(),
        ):
            output = batch.run(self.taps.model, device)
        return self.taps.end(output)

    def _unpacked(self, raw: Any) -> Batch:
        return self._calls.fitted(self._as_yielded(raw))

    def _as_yielded(self, raw: Any) -> Batch:
        writes = decodes(self.taps.model)
        if self.tokens == AUTO and writes:
            self.tokens = "next" if is_decoded(raw, self.unpack) else None
        elif self.tokens == AUTO:
            self.tokens = found_kind(self.taps.model, raw, self.unpack)
        if self.tokens is not None and writes:
            self.taps.leave_out(encoder_layers(self.taps.model, list(self.taps.modules)), SOURCE)
            return decoder_batch(self.taps.model, raw, self.unpack, self.ignore_index)
        if self.tokens is not None:
            return token_batch(raw, self.tokens, self.unpack, self.ignore_index)
        return unpack_batch(raw, self.unpack, numbers=self.numbers)

    def _size(self, raw: Any) -> int:
        return self._unpacked(raw).rows

    def _batches(self) -> Iterator[tuple[str, int, Batch, Place | None, Tensor | None]]:
        total = self._total()
        done = 0
        if self.heard is not None:
            self.heard.begin()
        for split, loader in self.loaders.items():
            start = samples = 0
            for raw, place in self._placed(loader):
                batch, marks = self._unpacked(raw), None
                rows = batch.rows
                if self.heard is not None and self.ranks is None:
                    self.heard.take(split, batch)
                if place is not None:
                    batch, place = _wanted(batch, place, always=is_sharded(self.taps.model))
                    if self.done is not None:
                        marks = _marks(batch)
                        place = self.done.left(split, place, batch.labels, marks)
                        # The first batch finds the head, whoever has its samples.
                        if self.taps.batches and not bool(place.wanted.any()):
                            batch = _first(batch, 0)
                elif self.limit is not None and start + rows > self.limit:
                    batch = _first(batch, self.limit - start)
                if batch.labels.shape[0]:
                    yield split, start, batch, place, marks
                start += rows
                samples += batch.labels.shape[0]
                done += rows
                if self.progress is not None:
                    self.progress("forward pass", done, total or done)
                if place is None and self.limit is not None and start >= self.limit:
                    break
            if start == 0 and self.ranks is None:
                raise ValueError(
                    f"the loader of split {split!r} is empty; at least one batch is needed: look "
                    "at what filters its samples, and whether it was read to its end before"
                )
            if samples == 0 and self.ranks is None and self.done is None:
                raise ValueError(
                    f"no token of the {start} sequences of split {split!r} is a sample: all are "
                    "padding, or no real token follows another; check the attention mask"
                )
        if self.heard is not None:
            self.heard.end()

    def _placed(self, loader: Any) -> Iterator[tuple[Any, Place | None]]:
        if isinstance(loader, Share):
            yield from loader.batches(self.limit, even=is_sharded(self.taps.model))
            return
        start = 0
        for raw in loader:
            if self.done is None:
                yield raw, None
                continue
            order = torch.arange(start, start + self._size(raw))
            start += order.numel()
            limit = start if self.limit is None else self.limit
            yield raw, Place(order, order < limit)
            if start >= limit and self.limit is not None:
                return

    def _total(self) -> int:
        total = 0
        for loader in self.loaders.values():
            try:
                count = len(loader.dataset)
            except (AttributeError, TypeError):
                return 0
            total += count if self.limit is None else min(count, self.limit)
        return total

    def _check_labels(self, labels: Tensor, split: str, place: int) -> None:
        if self.taps.head is None or self.foreign:
            return
        K = self.taps.head.weight.shape[0]
        if labels.is_floating_point():
            self._check_targets(labels)
            return
        wide = "has one logit for two" if self.taps.head.binary else f"is {K} wide"
        if self.taps.head.binary and labels.numel() and int(labels.max()) > 1:
            ordered = thresholds_of(self.taps.model, self.taps.head.name)
            if ordered is not None:
                K = ordered[0].numel() - 1
                wide = f"tells {K} grades"
        wrong = (labels < 0) | (labels >= K)
        if self.ignore_index is not None:
            wrong &= labels != self.ignore_index
        if bool(wrong.any()):
            first = int(wrong.nonzero()[0])
            raise ValueError(
                f"label {int(labels[first])} of sample {place + first} in split {split!r} lies "
                f"outside the head's classes 0..{K - 1} ({self.taps.head.name!r} {wide}); is "
                "this the data that the model was trained on? Number its classes as the model "
                "does, or mark samples to leave out by ignore_index"
            )

    def _check_targets(self, targets: Tensor) -> None:
        head = self.taps.head
        assert head is not None
        wide = 1 if targets.dim() == 1 else targets.shape[1]
        made = 1 if head.binary else head.weight.shape[0]
        if wide == 1 < made and bool((targets == targets.round()).all()):
            return  # Class numbers, as tables hold them: `measuring.classed` takes them so.
        if wide != made:
            raise ValueError(
                f"a sample has {wide} target numbers and the head {head.name!r} makes {made}; as "
                "many are needed of real numbers, the targets of a regression: pass classes as "
                "integers, or the data that the model was trained on"
            )

    @contextmanager
    def _mixed(self, device: torch.device) -> Iterator[None]:
        if self.autocast is None:
            yield
            return
        with torch.autocast(device.type, dtype=self.autocast):
            yield


def _wanted(batch: Batch, place: Place, *, always: bool) -> tuple[Batch, Place]:
    """A batch without the samples that other ranks count, with the places of what is left.

    What is not wanted stands at the end. `always` keeps the inputs whole: a sharded model must run
    as often on every rank.
    """
    number = int(place.wanted.sum())
    if number < batch.rows and not always and bool(place.wanted[:number].all()):
        batch = _first(batch, number)
        place = Place(place.order[:number], place.wanted[:number])
    if batch.tokens is None:
        return batch, place
    row = torch.div(batch.tokens.positions, batch.tokens.time, rounding_mode="floor").cpu()
    return batch, Place(token_order(place.order, batch.tokens), place.wanted[row])


def _marks(batch: Batch) -> Tensor:
    """The samples' marks; tokens have those of their sequence."""
    found = sample_marks(batch.inputs, batch.rows)
    if batch.tokens is None:
        return found
    return found[torch.div(batch.tokens.positions, batch.tokens.time, rounding_mode="floor").cpu()]


def _first(batch: Batch, count: int) -> Batch:
    """The first rows of a batch, cut before the model runs."""
    inputs, mask = (batch.taken(value, slice(count)) for value in (batch.inputs, batch.mask))
    if batch.tokens is None:
        return Batch(inputs, batch.labels[:count], mask)
    positions, time = batch.tokens.positions, batch.tokens.time
    number = int((positions < count * time).sum())
    kept = Tokens(positions[:number], count, time)
    return Batch(inputs, batch.labels[:number], mask, kept)


@contextmanager
def explained(inputs: Any) -> Iterator[None]:
    """What a model says of inputs that it cannot take, with what was passed to it."""
    try:
        yield
    except (AssertionError, IndexError, KeyError, RuntimeError, TypeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"the model failed on a batch of {describe(inputs)}: {type(error).__name__}"
            f"{': ' + reason[0][:300] if reason else ''}; inputs of the kind it was trained on are "
            "needed (image size, dtype, keys), or unpack=… to map them"
        ) from error


def device_of(model: nn.Module) -> torch.device:
    for tensor in (*islice(model.parameters(), 1), *islice(model.buffers(), 1)):
        return tensor.device
    return torch.device("cpu")
