"""Ledger: readings on their way to trace, file and loggers; none of it stops training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ncollapse.errors import NCollapseWarning
from ncollapse.record.atomic import set_aside
from ncollapse.record.folder import TRACE
from ncollapse.record.trace import Trace
from ncollapse.tracking.loggers import Adapter, Headline, Values, flat, to


class Ledger:
    """Writes readings to a trace (`output`/trace.csv, line by line) and to loggers.

    A file that cannot be written (a full disk) and a logger that fails are said once, as a
    NCollapseWarning. The rows stay in memory, and the whole file is written as soon as that works
    again. Raises ValueError for loggers that `to` does not know.
    """

    def __init__(self, output: Path | None, loggers: Sequence[Any], *, resume: bool) -> None:
        self.path = None if output is None else output / TRACE
        self.adapters: list[Adapter] = [to(logger) for logger in loggers]
        self._behind = False
        self._silenced: set[int] = set()
        self._headline = Headline()
        self.trace = Trace()
        if self.path is not None and resume and self.path.exists():
            self.trace = Trace.load(self.path)
        elif self.path is not None:
            with self._writing("the trace is kept in memory until it can be written"):
                aside(self.path)
        self.trace.path = self.path

    def write(self, step: int, epoch: float | None, results: Values) -> None:
        """Readings by split, layer and key, all of one step."""
        for split, layers in results.items():
            for layer, values in layers.items():
                self._append(step, epoch, split, layer, values)
        logged = self._headline.of(results) | flat(results)
        if logged and epoch is not None:
            logged["nc/epoch"] = epoch
        for adapter in self.adapters:
            self._log(adapter, logged, step)

    def _append(
        self, step: int, epoch: float | None, split: str, layer: str, values: Mapping[str, Any]
    ) -> None:
        # After a failure the file may end anywhere: rows go to memory, then the file is rewritten.
        self.trace.path = None if self._behind else self.path
        with self._writing("the trace is kept in memory until it can be written"):
            self.trace.append(step, values, split=split, layer=layer, epoch=epoch)
            if self._behind and self.path is not None:
                self.trace.save(self.path)
                self._behind = False
        self.trace.path = self.path

    def rewind(self, step: int) -> None:
        """Drop rows from `step` on: a resumed run makes them again."""
        self.trace = self.trace.before(step)
        self.trace.path = self.path
        if self.path is not None and self.path.exists():
            with self._writing("the trace is kept in memory until it can be written"):
                self.trace.save(self.path)

    @contextmanager
    def _writing(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._behind:
                _warn(f"{self.path} cannot be written ({error}): {consequence}; training goes on")
            self._behind = True

    def _log(self, adapter: Adapter, values: dict[str, float], step: int) -> None:
        if not values:
            return
        try:
            adapter.log(values, step)
        # A dashboard that is out of reach must not end a night of training.
        except Exception as error:
            if id(adapter) not in self._silenced:
                self._silenced.add(id(adapter))
                _warn(
                    f"logging to {adapter.name} failed ({type(error).__name__}: {error}); training "
                    "goes on, and the trace holds every reading"
                )


def nulls(known: Values, places: Mapping[str, Sequence[str]], keys: Sequence[str]) -> Values:
    """Null for whatever was read before; where nothing was, for `keys` at layers by split."""
    if known:
        return {
            split: {layer: dict.fromkeys(values) for layer, values in layers.items()}
            for split, layers in known.items()
        }
    return {
        split: {layer: dict.fromkeys(keys) for layer in layers} for split, layers in places.items()
    }


def aside(path: Path) -> None:
    """Keep a file of an earlier run under another name, and say so."""
    kept = set_aside(path)
    if kept is not None:
        _warn(f"{path} is of an earlier run, which was not resumed; it is kept as {kept.name}")


def attempt(action: Callable[[], None], what: str, said: set[str]) -> None:
    """Write a file; where the disk refuses, say so once and go on."""
    try:
        action()
    except OSError as error:
        if what not in said:
            said.add(what)
            _warn(f"{what} cannot be written ({error}); training goes on")


def _warn(message: str) -> None:
    warnings.warn(message, NCollapseWarning, stacklevel=4)
