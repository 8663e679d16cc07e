"""A model as an encoder: what enters its classifier, and the classifier, for detectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.collect.keep.cache import FeatureCache
from ncollapse.collect.tap.batches import as_labels, rows_of
from ncollapse.collect.tap.heads import Head
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.sources.features.arrays import FeatureSource

FOREIGN = -1


class ForeignStream(ModelStream):
    """A forward pass over samples that the head does not know: labels are not looked at."""

    def _check_labels(self, labels: Tensor, split: str, place: int) -> None:
        pass


def foreign_batch(batch: Any) -> tuple[Any, Tensor]:
    """Inputs with or without labels: (inputs, labels), -1 in the place of labels that are no class
    numbers or not there. Raises ValueError for a batch without a tensor."""
    inputs, labels = batch, None
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        inputs, labels = batch
    elif isinstance(batch, Mapping):
        name = next((key for key in ("labels", "label") if key in batch), None)
        inputs = {key: value for key, value in batch.items() if key != name}
        labels = None if name is None else batch[name]
    rows = rows_of(inputs)
    if rows is None:
        raise ValueError(
            f"a batch is a {type(batch).__name__} without a tensor; inputs of the model, or pairs "
            "(inputs, labels), are needed"
        )
    return inputs, _numbers(labels, rows)


def _numbers(labels: Any, rows: int) -> Tensor:
    try:
        found = as_labels(labels)
    except (TypeError, ValueError, RuntimeError):
        found = torch.zeros(0)
    whole = not found.is_floating_point() and not found.is_complex()
    if whole and found.shape == (rows,) and found.dtype != torch.bool:
        return found.to(torch.int64)
    return torch.full((rows,), FOREIGN)


class Encoder:
    """Features (samples, d) that enter the head of `model`, which is found unless named.

    The model runs in eval mode without gradients; its mode and buffers are put back. Features are
    kept in memory up to `budget` bytes, then on disk.
    Raises ValueError for heads that do not make the logits.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        head: str | nn.Module | None = None,
        budget: float = 1e9,
        batch_size: int = 128,
    ) -> None:
        self.taps = Taps(model, head=head)
        self._budget, self._batch_size = budget, batch_size

    @property
    def head(self) -> Head:
        """The classifier, once a batch has run. Raises ValueError before, and without one."""
        if self.taps.head is None:
            raise ValueError("the model's classifier is not known yet; run a batch through it")
        return self.taps.head

    def cached(self, loader: Any) -> FeatureCache:
        """The features of a loader; a context manager that lets them go. Its samples are labelled
        as the head knows them, or below 0."""
        stream = ForeignStream(self.taps, {"train": loader}, batch_size=self._batch_size)
        return FeatureCache(self._budget).fill(stream)

    def source(self, cache: FeatureCache) -> FeatureSource:
        """What was kept, with the classifier."""
        return cache.source(HEAD, weight=self.head.weight, bias=self.head.bias)

    def features(self, inputs: Any) -> Tensor:
        """Features (samples, d) of one batch of inputs."""
        inputs, labels = foreign_batch(inputs)
        batches = [(inputs, labels)]
        stream = ForeignStream(self.taps, {"ood": batches}, batch_size=self._batch_size)
        (batch,) = stream
        return batch.features[HEAD].detach().cpu()
