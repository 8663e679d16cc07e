"""Watchers at a tracker's look: what reads features beside the catalog, and its numbers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.keep.cache import FeatureCache
from ncollapse.collect.tap.heads import Head
from ncollapse.collect.tap.taps import HEAD
from ncollapse.downstream.views import View, Watcher
from ncollapse.errors import NCollapseWarning
from ncollapse.sources.features.arrays import several_labels
from ncollapse.tracking.loggers import Values


class Watching:
    """The watchers of a tracker and what they read last; `alone`: the tracker has no samples.

    Raises ValueError for watchers without samples, and as `checked_watchers`.
    """

    def __init__(self, watch: Sequence[Any], alone: bool) -> None:
        if watch and alone:
            raise ValueError("watch needs samples to look at; pass train=… or test=…")
        self.watch = checked_watchers(watch)
        self.last: Values = {}

    def look(self, cache: FeatureCache, head: Head | None, steps: int, epochs: int) -> None:
        """Ask all of them; once training runs, a failure is said and they are asked no more."""
        try:
            self.last = watched(cache, head, self.watch)
        except ValueError as error:
            if steps == epochs == 0:
                raise
            self.watch, self.last = (), {}
            said = f"step {steps}: nothing is watched from here on: {error}; training goes on"
            warnings.warn(said, NCollapseWarning, stacklevel=6)

    def into(self, found: Values) -> None:
        """Lay what was read beside other readings of the same split and layer."""
        for split, layers in self.last.items():
            for name, values in layers.items():
                found.setdefault(split, {}).setdefault(name, {}).update(values)


def checked_watchers(watch: Sequence[Any]) -> tuple[Watcher, ...]:
    """Raises ValueError for one that has no `read`."""
    for one in watch:
        if not isinstance(one, Watcher):
            raise ValueError(
                f"watch holds a {type(one).__name__}; objects with read(view) are needed, such as "
                "ncollapse.downstream.plane.InformationPlane"
            )
    return tuple(watch)


def watched(cache: FeatureCache, head: Head | None, watch: Sequence[Watcher]) -> Values:
    """What every watcher reads of every layer and split with finite features, samples in their own
    order.

    Raises ValueError as the watchers do, for two that give numbers of one key, and for targets
    that are no classes.
    """
    found: Values = {}
    wanted = any(getattr(one, "reads_logits", True) for one in watch)
    for layer in cache.layers if watch else ():
        source = cache.source(layer)
        features, labels = torch.cat(list(source.rows(0, 8192))), source.labels
        if source.targets is not None:
            _check_targets(source.targets, watch)
        for code, split in enumerate(source.splits):
            mine = labels >= 0
            if source.split_codes is not None:
                mine &= source.split_codes == code
            rows = features[mine]
            if not len(rows) or not bool(rows.isfinite().all()):
                continue
            logits = weight = bias = None
            if layer == HEAD and head is not None:
                weight, bias = head.weight, head.bias
                logits = _logits(rows, head) if wanted else None
            view = View(split, layer, rows, labels[mine], logits, weight, bias)
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


def _check_targets(targets: Tensor, watch: Sequence[Watcher]) -> None:
    """Raises ValueError for targets of a regression, and for several labels a sample where a
    watcher is of classes alone."""
    losses = [one for one in watch if getattr(one, "of_classes", False)]
    if not several_labels(targets):
        who = "certify" if losses else f"watch=[{type(watch[0]).__name__}(), …]"
        reads = (
            "knows losses of classes only (cross-entropy, squared errors of one-hot labels)"
            if losses
            else "reads classes"
        )
        raise ValueError(
            f"the targets are numbers ({targets.dtype}), as of a regression, and {who} {reads}; "
            f"leave {who.partition('=')[0]} out and pass task='regression', or pass integers if "
            "they are class numbers"
        )
    if losses:
        raise ValueError(
            "a sample has several labels, and certify knows losses of one class a sample, as "
            "cross-entropy; leave certify out"
        )


def _logits(rows: Tensor, head: Head) -> Tensor:
    logits = rows.double() @ head.weight.detach().double().cpu().T
    return logits if head.bias is None else logits + head.bias.detach().double().cpu()
