"""Tracker: readings of a model along its training, in one line of a plain loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ncollapse.collect.batches import Unpack
from ncollapse.collect.cache import FeatureCache
from ncollapse.collect.pooling import Pool
from ncollapse.collect.select import Layers
from ncollapse.collect.stream import ModelStream
from ncollapse.collect.taps import HEAD, Taps
from ncollapse.measurement import TRACE, Measurement
from ncollapse.measures import measure_cache, split_loaders
from ncollapse.measuring import Options
from ncollapse.metrics.phase import ERROR, Phase, terminal_phase
from ncollapse.trace import Trace
from ncollapse.tracking.frames import FILE, FrameRecorder
from ncollapse.tracking.probe import balanced

log = logging.getLogger("ncollapse")
KEYS = (
    "class_share",
    "nc1_fisher",
    "nc1_ratio",
    "nc1_cdnv",
    "nc2_equinorm_means",
    "nc2_equinorm_weights",
    "nc2_angle_ratio",
    "nc2_etf_means",
    "nc3_duality",
    "nc3_alignment",
    "nc4_mismatch",
    "accuracy",
    "ncc_accuracy",
    "margin_min",
)
SPACING = 1.25
FILM_SHARE = 64


class Tracker:
    """Follows a model: every epoch, every so many steps, or at log-spaced steps.

    `train` and `test` (or `data`) are loaders, datasets or pairs of tensors, as in `measure`;
    `per_class` keeps a fixed balanced subset of each in memory. `every` is "epoch", a number of
    steps, or "log". Readings (`keys`) go to `trace`, and line by line to `output`/trace.csv; with
    `film`, features of 2 to 4 classes go to `output`/frames.safetensors. The model is probed in
    eval mode, its mode and the random states are put back.

    >>> tracker = Tracker(model, train=probe, test=test_loader, output="run")  # doctest: +SKIP
    >>> for epoch in range(200):                                               # doctest: +SKIP
    ...     for inputs, labels in loader:
    ...         ...; tracker.step()
    ...     tracker.end_epoch(train_error=error)
    >>> tracker.finish().save("run")                                           # doctest: +SKIP

    Raises ValueError for an unknown `every` or film, and whatever `measure` raises.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any = None,
        *,
        train: Any = None,
        test: Any = None,
        every: str | int = "epoch",
        layers: Layers = None,
        head: str | nn.Module | bool | None = None,
        pool: Pool | dict[str, Pool] = "auto",
        per_class: int | None = None,
        keys: Sequence[str] | None = KEYS,
        unpack: Unpack | None = None,
        batch_size: int = 128,
        class_names: Any = None,
        description: str | None = None,
        film: bool | Sequence[int] = False,
        output: Path | str | None = None,
        resume: bool = False,
        seed: int = 0,
    ) -> None:
        if isinstance(every, bool) or not (every in ("epoch", "log") or isinstance(every, int)):
            raise ValueError(f"every={every!r}; 'epoch', 'log' or a number of steps is needed")
        if isinstance(every, int) and every < 1:
            raise ValueError(f"every={every}; at least 1 step is needed")
        self.model, self.every = model, every
        loaders = split_loaders(data, train, test)
        if per_class is not None:
            loaders = {
                split: balanced(part, per_class, unpack=unpack, batch_size=batch_size)
                for split, part in loaders.items()
            }
            unpack = None
        self.loaders, self.unpack, self.batch_size = loaders, unpack, batch_size
        self.keys = None if keys is None else tuple(keys)
        self.class_names, self.seed = class_names, seed
        self._taps = Taps(model, layers, head=head, pool=pool)
        self.description = description or type(self._taps.model).__name__
        self.steps = self.epochs = 0
        self.latest: Measurement | None = None
        self._next = 1
        self._film = film
        self._recorder: FrameRecorder | None = None
        self.output = None if output is None else Path(output)
        self.trace = self._open(resume)

    def _open(self, resume: bool) -> Trace:
        if self.output is None:
            return Trace()
        path = self.output / TRACE
        trace = Trace.load(path) if resume and path.exists() else Trace()
        if not resume:
            path.unlink(missing_ok=True)
        trace.path = path
        return trace

    # ---- called by the training loop ----------------------------------------------------------
    def step(self) -> None:
        """Call after every optimizer step."""
        self.steps += 1
        due = self.steps >= self._next if self.every == "log" else False
        if isinstance(self.every, int):
            due = self.steps % self.every == 0
        if due:
            self._next = max(self.steps + 1, int(self.steps * SPACING))
            self.probe()

    def end_epoch(self, *, train_error: float | None = None) -> None:
        """Call after every epoch; the error on all training data, where the loop knows it."""
        self.epochs += 1
        if self.every == "epoch":
            self.probe(train_error=train_error)

    def probe(self, *, train_error: float | None = None) -> Measurement:
        """Look at the model now and append the readings to the trace."""
        epoch = float(self.epochs) if self.epochs else None
        options = Options(null=False, intervals=False, seed=self.seed, keys=self.keys)
        found = self._measure(options, record=True)
        for split, layers in found.results.items():
            for layer, readings in layers.items():
                values = {
                    key: reading.value
                    for key, reading in readings.items()
                    if self.keys is None or key in self.keys
                }
                if layer == found.document.layer and split == "train" and train_error is not None:
                    values[ERROR] = train_error
                self.trace.append(self.steps, values, split=split, layer=layer, epoch=epoch)
        self.latest = found
        return found

    def finish(self, *, null: bool = True, intervals: bool = True) -> Measurement:
        """The last, whole measurement with comparators, verdicts and the trace in it."""
        if not any(row.step == self.steps for row in self.trace.rows):
            self.probe()
        options = Options(null=null, intervals=intervals, seed=self.seed)
        self.latest = self._measure(options, trace=self.trace)
        self._save_frames()
        return self.latest

    # ---- results ------------------------------------------------------------------------------
    @property
    def phase(self) -> Phase | None:
        """The terminal phase so far, of the training split (see `terminal_phase`)."""
        layer = "head" if self._taps.wants_head else self._taps.layers[-1]
        return terminal_phase(self.trace, layer=layer)

    @property
    def head(self) -> str | None:
        """What was picked as the head and why, known after the first look."""
        return None if self._taps.head is None else self._taps.head.described

    def resume(self, steps: int, epochs: int) -> None:
        """Go on from a checkpoint: later rows and frames of an interrupted run are dropped."""
        self.steps, self.epochs = steps, epochs
        self._next = max(steps + 1, int(steps * SPACING))
        path = self.trace.path
        self.trace = self.trace.before(steps + 1)
        self.trace.path = path
        if path is not None and path.exists():
            self.trace.save(path)

    # ---- measuring ----------------------------------------------------------------------------
    def _measure(
        self, options: Options, *, record: bool = False, trace: Trace | None = None
    ) -> Measurement:
        if self._taps.head is not None:
            self._taps.refresh()
        stream = ModelStream(
            self._taps, self.loaders, unpack=self.unpack, batch_size=self.batch_size
        )
        with FeatureCache() as cache:
            cache.fill(stream)
            if record and self._film is not False:
                self._record(cache)
            return measure_cache(
                cache,
                self._taps,
                options,
                class_names=self.class_names,
                description=self.description,
                trace=trace,
            )

    def _record(self, cache: FeatureCache) -> None:
        split = "train" if "train" in cache.splits else cache.splits[0]
        source = cache.source(HEAD)
        features, labels = torch.cat(list(source.rows(0, 8192))), source.labels
        if source.split_codes is not None:
            mine = source.split_codes == source.splits.index(split)
            features, labels = features[mine], labels[mine]
        if self._recorder is None:
            self._recorder = self._new_recorder(labels, split)
        head = self._taps.head
        assert head is not None
        epoch = float(self.epochs) if self.epochs else None
        self._recorder.add(self.steps, epoch, features, labels, head.weight, head.bias)
        # Every frame while they are few; the file is rewritten whole, so ever more rarely later.
        count = len(self._recorder.steps)
        if count % max(1, count // FILM_SHARE) == 0:
            self._save_frames()

    def _new_recorder(self, labels: torch.Tensor, split: str) -> FrameRecorder:
        present = labels[labels >= 0].unique().tolist()
        classes = present[:4] if isinstance(self._film, bool) else list(self._film)
        recorder = FrameRecorder(classes, self.class_names, split=split)
        if self.output is not None and self.trace.rows and (self.output / FILE).exists():
            recorder.load(self.output / FILE, before=self.steps)
        return recorder

    def _save_frames(self) -> None:
        if self._recorder is not None and self.output is not None:
            self.output.mkdir(parents=True, exist_ok=True)
            self._recorder.save(self.output / FILE)
