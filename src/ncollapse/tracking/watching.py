"""Watchers at a tracker's look: what reads features beside the catalog, and its numbers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from ncollapse.collect.keep.cache import FeatureCache
from ncollapse.collect.tap.heads import Head
from ncollapse.collect.tap.taps import HEAD
from ncollapse.downstream.views import View, Watcher
from ncollapse.errors import NCollapseWarning
from ncollapse.tracking.loggers import Values


def checked_watchers(watch: Sequence[Any]) -> tuple[Watcher, ...]:
    """Raises ValueError for one that has no `read`."""
    for one in watch:
        if not isinstance(one, Watcher):
            raise ValueError(
                f"watch holds a {type(one).__name__}; objects with read(view) are needed, such as "
                "ncollapse.downstream.plane.InformationPlane"
            )
    return tuple(watch)


class Watchers:
    """A tracker's watchers and what they read last; those that fail once training runs are asked no
    more, with a warning. Raises ValueError as `checked_watchers` does."""

    def __init__(self, watch: Sequence[Any]) -> None:
        self._watch = checked_watchers(watch)
        self.latest: Values = {}

    def look(self, cache: FeatureCache, head: Head | None, step: int, *, begun: bool) -> None:
        """Read now. Raises ValueError as they do before training has begun."""
        try:
            self.latest = watched(cache, head, self._watch)
        except ValueError as error:
            if not begun:
                raise
            self._watch, self.latest = (), {}
            said = f"step {step}: nothing is watched from here on: {error}; training goes on"
            warnings.warn(said, NCollapseWarning, stacklevel=5)


def watched(cache: FeatureCache, head: Head | None, watch: Sequence[Watcher]) -> Values:
    """What every watcher reads of every layer and split with finite features, samples in their own
    order.

    Raises ValueError as the watchers do, and for two that give numbers of one key.
    """
    found: Values = {}
    for layer in cache.layers if watch else ():
        source = cache.source(layer)
        features, labels = torch.cat(list(source.rows(0, 8192))), source.labels
        for code, split in enumerate(source.splits):
            mine = labels >= 0
            if source.split_codes is not None:
                mine &= source.split_codes == code
            rows = features[mine]
            if not len(rows) or not bool(rows.isfinite().all()):
                continue
            logits = None
            if layer == HEAD and head is not None:
                weight = head.weight.detach().double().cpu()
                logits = rows.double() @ weight.T
                if head.bias is not None:
                    logits = logits + head.bias.detach().double().cpu()
            view = View(split, layer, rows, labels[mine], logits)
            for one in watch:
                new = dict(one.read(view))
                known = found.setdefault(split, {}).setdefault(layer, {})
                twice = sorted(set(new) & set(known))
                if twice:
                    raise ValueError(f"two watchers read {twice[0]!r}; leave one out")
                known.update(new)
    return {
        split: {layer: values for layer, values in layers.items() if values}
        for split, layers in found.items()
    }
