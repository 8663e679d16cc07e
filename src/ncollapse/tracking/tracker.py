"""Tracker: readings of a model along its training, in one line of a plain loop."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ncollapse.collect.keep.cache import FeatureCache
from ncollapse.collect.statistics.checks import NON_FINITE, diverged
from ncollapse.collect.tap.batches import Unpack
from ncollapse.collect.tap.pooling import Pool
from ncollapse.collect.tap.select import Layers
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import Taps
from ncollapse.collect.tap.tokens import token_kind
from ncollapse.control.held import Dial
from ncollapse.errors import NCollapseWarning
from ncollapse.figures import Figures
from ncollapse.measuring.loaders import split_loaders
from ncollapse.measuring.measure import measure_cache
from ncollapse.measuring.measurement import Measurement
from ncollapse.measuring.options import Options, chosen_keys
from ncollapse.metrics.catalog import followed, of_task
from ncollapse.metrics.phase import ERROR, Phase, terminal_phase
from ncollapse.record.readings import Reading
from ncollapse.record.trace import Trace
from ncollapse.tasks import AUTO
from ncollapse.tracking.certifying import with_certificate
from ncollapse.tracking.film import Film
from ncollapse.tracking.following import Following
from ncollapse.tracking.head_breaks import LawReading
from ncollapse.tracking.laws import Laws
from ncollapse.tracking.ledger import Ledger, nulls
from ncollapse.tracking.loggers import Values, numbers
from ncollapse.tracking.online import SPLIT
from ncollapse.tracking.probe import balanced
from ncollapse.tracking.summary import dial_measurement, online_measurement
from ncollapse.tracking.watching import Watching

log = logging.getLogger("ncollapse")
KEYS = followed(None)
SPACING = 1.25


class Tracker(Figures):
    """Follows a model: every epoch, every so many steps, or at log-spaced steps.

    Probing: `train` and `test` (or `data`) are loaders, datasets or pairs of tensors, as in
    `measure`; `per_class` keeps a fixed balanced subset of each in memory. The model is probed in
    eval mode, its mode and the random states are put back.

    Online: with `online`, the training batches themselves are followed, by hooks and the labels
    passed to `step`, without a forward pass more. Old samples fade with `half_life` (samples, or
    `half_life_unit="batches"`; default 100 samples a class), which stands in the definition of
    every reading, because the drift of parameters over a half-life adds to NC1. Features are those
    of training mode: dropout before the head counts as spread. Both ways go together.

    Holding: with a `dial` (`ncollapse.control.Thermostat`, or whatever has observe and penalty)
    `penalty(labels)` tells it of the batch and gives what to add to the loss. It goes with or
    without data and online; its readings are the split `dial` (see `tracking.hold.Hold`).

    `every` is "epoch", a number of steps, or "log". Readings (`keys`) go to `trace`, line by line
    to `output`/trace.csv, and to `loggers` (see `ncollapse.tracking.loggers.to`); with `film`,
    features of 2 to 4 classes go to `output`/frames.safetensors. What each of `watch` reads of the
    probed features (`ncollapse.downstream`: the information plane, calibration) goes to the trace
    too. With `certify` (True, or the loss of training) the loss is read beside the least that any
    head and features of these norms can have, with proof (`ncollapse.tracking.certifying`). With
    `tokens` every token is a sample, and `task` says what labels mean, as in `measure`:
    probes read regressions and ordered grades too. With the `optimizer` (and `scheduler`) that
    steps the model, `law` says whether the sum of the classifier's rows follows its law, and what
    breaks it. NaN features, a head that is replaced, a full disk, a logger that fails and, once
    training runs, whatever cannot be read are said in a NCollapseWarning; training goes on.

    >>> tracker = Tracker(model, online=True, every=100)                       # doctest: +SKIP
    >>> for inputs, labels in loader:                                          # doctest: +SKIP
    ...     criterion(model(inputs), labels).backward(); optimizer.step()
    ...     tracker.step(labels)
    >>> tracker.finish().save("run")                                           # doctest: +SKIP

    Raises ValueError for an unknown `every`, film or logger, none of data, online and dial; before
    the first step, and in `finish`, whatever `measure` raises.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any = None,
        *,
        train: Any = None,
        test: Any = None,
        online: bool = False,
        half_life: float | None = None,
        half_life_unit: str = "samples",
        every: str | int = "epoch",
        layers: Layers = None,
        head: str | nn.Module | bool | None = None,
        pool: Pool | dict[str, Pool] = "auto",
        per_class: int | None = None,
        keys: Sequence[str] | None = KEYS,
        unpack: Unpack | None = None,
        batch_size: int = 128,
        class_names: Any = None,
        num_classes: int | None = None,
        description: str | None = None,
        film: bool | Sequence[int] = False,
        dial: Dial | None = None,
        output: Path | str | None = None,
        resume: bool = False,
        seed: int = 0,
        loggers: Sequence[Any] = (),
        tokens: bool | str = False,
        task: str = AUTO,
        optimizer: Optimizer | None = None,
        scheduler: Any = None,
        watch: Sequence[Any] = (),
        certify: Any = False,
    ) -> None:
        if isinstance(every, bool) or not (every in ("epoch", "log") or isinstance(every, int)):
            raise ValueError(f"every={every!r}; 'epoch', 'log' or a number of steps is needed")
        if isinstance(every, int) and every < 1:
            raise ValueError(f"every={every}; at least 1 step is needed")
        self.model, self.every = model, every
        unseen = data is None and train is None and test is None
        alone = unseen and (online or dial is not None)
        if film is not False and (alone or head is False):
            raise ValueError(
                "film needs samples and a head to look at; pass train=…, no head=False"
            )
        self.tokens = token_kind(tokens)
        watch = with_certificate(
            watch, certify, alone=alone, head=head, task=task, tokens=self.tokens
        )
        self._watching = Watching(watch, alone)
        loaders = {} if alone else split_loaders(data, train, test)
        if per_class is not None and self.tokens is not None:
            raise ValueError("per_class counts samples, and with tokens those are tokens; pass one")
        if per_class is not None:
            loaders = {
                split: balanced(part, per_class, unpack=unpack, batch_size=batch_size)
                for split, part in loaders.items()
            }
            unpack = None
        self.loaders, self.unpack, self.batch_size = loaders, unpack, batch_size
        self.keys = None if keys is None else tuple(keys)
        # Tokens are followed as classes: the rows along training are theirs.
        self.task = "classification" if task == AUTO and self.tokens is not None else task
        # Training batches are followed by class, whatever the task of the probes.
        self._usual = None if keys is None else tuple(key for key in keys if key in of_task())
        self.class_names, self.seed = class_names, seed
        self._taps = Taps(model, layers, head=head, pool=pool)
        self.description = description or type(self._taps.model).__name__
        self.steps = self.epochs = 0
        self.latest: Measurement | None = None
        self.online: dict[str, dict[str, Reading]] = {}
        self._next = 1
        self._stopped = False
        self.output = None if output is None else Path(output)
        self._film = None if film is False else Film(film, class_names, self.output)
        self._ledger = Ledger(self.output, loggers, resume=resume)
        chosen_keys(self.keys)
        self._following = Following(
            dial, online=online, half_life=half_life, unit=half_life_unit, layers=layers,
            head=head, pool=pool, keys=self._usual, num_classes=num_classes, tokens=tokens,
        )  # fmt: skip
        self._following.begin(model)
        self._online, self._hold = self._following.online, self._following.hold
        self._laws = Laws(model, optimizer, scheduler, head)

    # ---- called by the training loop ----------------------------------------------------------
    def penalty(self, target: Any) -> Tensor:
        """What the dial adds to the loss of the forward pass just made, with its labels (samples).

        Tells the dial of that batch first; zero in eval mode and without gradients. Where several
        batches make one step, add it to the loss of each. Raises ValueError without a dial, for a
        head that does not make the logits, and labels that do not fit the batch.
        """
        if self._hold is None:
            raise ValueError("this tracker has no dial; pass dial=ncollapse.control.Thermostat(…)")
        return self._hold.penalty(target)

    def observe(self, target: Any = None) -> None:
        """Online: take in the forward pass just made in training mode, with its labels (samples).

        `step(target)` does so itself; where several batches make one step, call this after each.
        A model that is given its labels (`labels=…`) needs no target.
        """
        if self._online is None:
            raise ValueError("this tracker does not follow training batches; pass online=True")
        self._online.observe(target)

    def step(self, target: Any = None) -> None:
        """Call after every optimizer step; online, with the labels of its batch."""
        given = target is not None and self._hold is None
        if given or (self._online is not None and (target is not None or self._online.pending)):
            self.observe(target)
        if self._hold is not None:
            self._hold.step()
        self._laws.step(None if self._online is None else self._online.passes.taps)
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

    def probe(self, *, train_error: float | None = None) -> Measurement | None:
        """Look at the model now and append the readings to the trace, online ones too.

        None where there is no data to look at, or where it cannot be read, as with NaN features:
        the rows are null then and a NCollapseWarning says so.
        """
        found: Values = {}
        looked: Measurement | None = None
        if self.loaders and not self._stopped:
            options = Options(
                null=False, intervals=False, seed=self.seed, keys=self.keys, task=self.task
            )
            try:
                looked = self._measure(options, record=True)
                found = numbers(looked.results, self.keys)
                self._watching.into(found)
            except ValueError as error:
                found = self._unread(error)
        primary = self._taps.layers[-1]
        if train_error is not None and "train" in found:
            found["train"].setdefault(primary, {})[ERROR] = train_error
        if self._online is not None:
            self.online = self._online.readings()
            found |= numbers({SPLIT: self.online}, self.keys)
        if self._hold is not None:
            found |= self._hold.readings()
        self._ledger.write(self.steps, float(self.epochs) if self.epochs else None, found)
        self.latest = looked or self.latest
        return looked

    def _unread(self, error: ValueError) -> Values:
        """Null readings, and a word: what is wrong before the first step is an error, what goes
        wrong later must not end the training."""
        late = self.latest is not None or diverged(self._taps.model) or NON_FINITE in str(error)
        if not late and self.steps == self.epochs == 0:
            raise error
        if not late:
            self._stopped = True
            _warn(f"step {self.steps}: {error}. Nothing is read from here on; training goes on")
            return {}
        _warn(f"step {self.steps}: {error}. The reading is null, and training goes on")
        known = {} if self.latest is None else numbers(self.latest.results, self.keys)
        places = dict.fromkeys(self.loaders, self._taps.layers)
        return nulls(known, places, self._usual or ("class_share",))

    def finish(self, *, null: bool = True, intervals: bool = True) -> Measurement:
        """The last, whole measurement with comparators, verdicts, online readings and the trace.

        Followed online only, it holds the last online readings. Hooks are taken off the model.
        Raises ValueError where nothing was seen, or the features are NaN now.
        """
        if not any(row.step == self.steps for row in self.trace.rows):
            self.probe()
        if self._film is not None:
            self._film.save()
        self.close()
        if not self.loaders:
            said: dict[str, Any] = {"description": self.description, "seed": self.seed}
            if self._online is not None:
                found = online_measurement(self._online, self.online, trace=self.trace, **said)
            else:
                assert self._hold is not None
                found = dial_measurement(self._hold, trace=self.trace, **said)
            self.latest = self._laws.told(found)
            return self.latest
        options = Options(null=null, intervals=intervals, seed=self.seed, task=self.task)
        found = self._measure(options, trace=self.trace)
        if self.online:
            results = {**found.results, SPLIT: self.online}
            found = replace(found, document=replace(found.document, results=results))
        self.latest = self._laws.told(found)
        return self.latest

    def close(self) -> None:
        """Take the hooks off the model and the optimizer."""
        self._following.close()
        self._laws.close()

    # ---- results ------------------------------------------------------------------------------
    def _parts(self) -> dict[str, Any]:
        return {**({} if self.latest is None else self.latest._parts()), "trace": self.trace}

    def __repr__(self) -> str:
        return f"<Tracker of {self.description} after {self.steps:,} steps: {self.trace!r}>"

    @property
    def trace(self) -> Trace:
        """Every reading so far."""
        return self._ledger.trace

    @property
    def law(self) -> LawReading | None:
        """Whether the sum of the classifier's rows follows its law so far; None without an
        optimizer."""
        return self._laws.reading

    @property
    def phase(self) -> Phase | None:
        """The terminal phase so far, of the training split (see `terminal_phase`)."""
        layer = "head" if self._taps.wants_head else self._taps.layers[-1]
        return terminal_phase(self.trace, layer=layer)

    @property
    def head(self) -> str | None:
        """What was picked as the head and why, known after the first look."""
        found = self._taps.head
        if found is None and self._online is not None:
            found = self._online.passes.taps.head
        return None if found is None else found.described

    # ---- going on after an interruption -------------------------------------------------------
    def resume(self, steps: int, epochs: int) -> None:
        """Go on from a checkpoint: later rows and frames of an interrupted run are dropped."""
        self.steps, self.epochs = steps, epochs
        self._next = max(steps + 1, int(steps * SPACING))
        self._ledger.rewind(steps + 1)

    def state_dict(self) -> dict[str, Any]:
        """Steps, epochs, online moments, the dial's state and the law's, as tensors and plain
        numbers."""
        kept = {**self._following.state_dict(), **self._laws.state_dict()}
        return {"steps": self.steps, "epochs": self.epochs, **kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, as `resume` does, with online moments and the dial's state."""
        if "steps" not in state:
            raise ValueError(f"the state holds {list(state)}; that of a Tracker is needed")
        self._following.load_state_dict(state)
        self._following.restore()
        if int(state["steps"]):
            self._laws.load_state_dict(state)
        self.resume(int(state["steps"]), int(state["epochs"]))

    # ---- measuring ----------------------------------------------------------------------------
    def _measure(
        self, options: Options, *, record: bool = False, trace: Trace | None = None
    ) -> Measurement:
        self._follow_head()
        stream = ModelStream(
            self._taps,
            self.loaders,
            unpack=self.unpack,
            batch_size=self.batch_size,
            tokens=self.tokens,
            numbers=True,
        )
        with FeatureCache() as cache:
            cache.fill(stream)
            self._laws.settle(self._taps)
            if record:
                self._watching.look(cache, self._taps.head, self.steps, self.epochs)
            if record and self._film is not None and self._taps.head is not None:
                epoch = float(self.epochs) if self.epochs else None
                goes_on = bool(self.trace.rows)
                try:
                    self._film.record(cache, self._taps.head, self.steps, epoch, goes_on=goes_on)
                except ValueError as error:
                    if self.steps == self.epochs == 0:
                        raise
                    self._film = None
                    _warn(f"step {self.steps}: there is no film: {error}; training goes on")
            return measure_cache(
                cache,
                self._taps,
                options,
                class_names=self.class_names,
                description=self.description,
                trace=trace,
            )

    def _follow_head(self) -> None:
        """Read the head's weights anew, and find it anew where another took its place."""
        old = self._taps.head
        if old is not None and self._taps.replaced:
            _warn(f"step {self.steps}: the head {old.name!r} was replaced; it is looked for again")
            self._taps = self._taps.renewed()
        self._taps.refresh()


def _warn(message: str) -> None:
    warnings.warn(message, NCollapseWarning, stacklevel=4)
