"""Evaluation: a trainer's own validation passes, read by hooks, over all ranks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from ncollapse.collect.keep.gaps import first_full
from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.collect.ranks.sync import in_group
from ncollapse.collect.tap.heads import Head
from ncollapse.collect.tap.listener import in_evaluation
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.errors import NCollapseWarning
from ncollapse.metrics.catalog import METRICS, followed
from ncollapse.tracking.metric import NeuralCollapse, values_of
from ncollapse.tracking.passes import DivergedError, Heard, Passes

# What needs no second look at the samples, and no head alone.
KEYS = tuple(key for key in followed() if "means" in METRICS[key].needs)


class Evaluation:
    """Class statistics of the forward passes in eval mode, one layer after the other.

    Nothing runs twice: `observe` takes the pass just made with its labels; `readings` gives values
    by layer and key over the samples of all ranks, the same keys on each, and NaN for what cannot
    be read. With `tokens` ("next", "same") every token is a sample. A model or labels that cannot
    be read end it with one warning. Raises ValueError as `NeuralCollapse` does.
    """

    def __init__(self, taps: Taps, keys: Sequence[str] = KEYS, tokens: str | None = None) -> None:
        self.passes = Passes(taps, in_evaluation, tokens)
        self.stopped = False
        self.keys = tuple(keys)
        self.start()
        self.close()

    def start(self) -> None:
        """Begin an evaluation: earlier samples are forgotten."""
        self.metrics: dict[str, NeuralCollapse] = {}
        self._lost = 0
        if not self.stopped:
            self.passes.open()

    def observe(self, target: Any = None) -> None:
        """Take in the last forward pass with its labels (None: those the model was given)."""
        try:
            heard = self.passes.take()
            found = None if heard is None else heard.labelled(target)
            if heard is None or found is None:
                return
            features, labels = found
            for layer, rows in features.items():
                finite = rows.isfinite().all(1)
                self._lost += int((~finite).sum())
                metric = self._metric(layer, heard)
                metric.update(rows[finite], labels.to(finite.device)[finite])
        except DivergedError:
            self._lost += 1
        except (ValueError, TypeError, RuntimeError) as error:
            self.stop(str(error))

    def stop(self, reason: str) -> None:
        """End the reading of evaluations for good, with a warning; training goes on."""
        if not self.stopped:
            self.stopped = True
            self.passes.close()
            said = f"evaluation is not read: {reason}; training goes on"
            warnings.warn(said, NCollapseWarning, stacklevel=2)

    def _metric(self, layer: str, heard: Heard) -> NeuralCollapse:
        if layer not in self.metrics:
            K = heard.width
            if K is None:
                raise ValueError("without a head the number of classes is unknown; keep head=None")
            features = heard.features[layer]
            self.metrics[layer] = self._new(K, features.shape[1], features.device)
        return self.metrics[layer]

    def _new(self, K: int, d: int, device: torch.device | str) -> NeuralCollapse:
        return NeuralCollapse(K, d, keys=self.keys, memory_budget=2e8, device=device)

    def close(self) -> None:
        """Take the hooks off the model; what was read stays."""
        self.passes.close()

    def readings(self) -> dict[str, dict[str, float]]:
        """Values by layer and key; call on every rank. NaN, with a warning, where features were.

        A rank that had no batch adds nothing and finds what the others find. Raises ValueError, on
        every rank, when two read different layers.
        """
        self.close()
        taps = self.passes.taps
        if taps.head is not None:
            taps.refresh()
        head, lost = taps.head, self._lost
        shapes = {name: (one.num_classes, one.num_features) for name, one in self.metrics.items()}
        if (ranks := Ranks.current()) is not None:
            found = ranks.gather((shapes, lost, head is not None))
            lost = sum(number for _, number, _ in found)
            first = first_full([part for part, _, _ in found])
            if first is not None:
                shapes = found[first][0]
                if not all(headed for _, _, headed in found):
                    head = ranks.from_rank(first, head)
        if lost:
            said = "evaluation met NaN or infinite features; its readings are NaN"
            warnings.warn(said, NCollapseWarning, stacklevel=2)
            layers = [name for name in taps.layers if name in shapes or not shapes]
            return {layer: dict.fromkeys(self._keys(layer, True), math.nan) for layer in layers}
        layers = [name for name in taps.layers if name in shapes]
        return {layer: self._read(layer, *shapes[layer], head) for layer in layers}

    def _keys(self, layer: str, headed: bool) -> list[str]:
        headed = headed and layer == HEAD
        return [key for key in self.keys if headed or "head" not in METRICS[key].needs]

    def _read(self, layer: str, K: int, d: int, head: Head | None) -> dict[str, float]:
        keys = self._keys(layer, head is not None)
        metric = self.metrics[layer] if layer in self.metrics else self._new(K, d, "cpu")
        whole = (metric.sync() if in_group() else metric).moments
        weight, bias = (None, None) if head is None or layer != HEAD else (head.weight, head.bias)
        if int((whole.counts > 0).sum()) < 2:
            return dict.fromkeys(keys, math.nan)
        values = values_of(whole, keys, metric.definition, weight, bias)
        return {key: float(values[key]) for key in keys}
