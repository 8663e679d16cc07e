"""Evaluation: a trainer's own validation passes, read by hooks; what the callbacks share."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ncollapse.collect.batches import unpack_batch
from ncollapse.collect.sync import in_group, total
from ncollapse.collect.taps import HEAD
from ncollapse.errors import NCollapseWarning
from ncollapse.metrics.catalog import METRICS
from ncollapse.schema import Reading
from ncollapse.tracking.listener import DivergedError, Heard, Listener
from ncollapse.tracking.metric import NeuralCollapse, values_of

KEYS = (
    "class_share",
    "nc1_fisher",
    "nc1_ratio",
    "nc1_cdnv",
    "nc2_equinorm_means",
    "nc2_angle_ratio",
    "nc2_etf_means",
    "nc3_duality",
    "nc3_alignment",
)


class Evaluation:
    """Class statistics of the forward passes in eval mode, one layer after the other.

    Nothing runs twice: `observe` takes the pass just made with its labels; `readings` gives values
    by layer and key over the samples of all ranks, the same keys on each, and NaN for what cannot
    be read. Raises ValueError as `Listener` and `NeuralCollapse` do.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Any = None,
        *,
        head: Any = None,
        pool: Any = "auto",
        keys: Sequence[str] = KEYS,
    ) -> None:
        self.listener = Listener(model, layers, head=head, pool=pool, training=False)
        self.keys = tuple(keys)
        self.start()
        self.listener.close()

    def start(self) -> None:
        """Begin an evaluation: earlier samples are forgotten."""
        self.metrics: dict[str, NeuralCollapse] = {}
        self._lost = 0
        self.listener.open()

    def observe(self, target: Any = None) -> None:
        """Take in the last forward pass with its labels (None: those the model was given)."""
        try:
            heard = self.listener.take()
        except DivergedError:
            self._lost += 1
            return
        if heard is None:
            return
        labels = heard.labels if target is None else target
        if labels is None:
            return
        labels = unpack_batch((None, labels)).labels
        for layer, features in heard.features.items():
            finite = features.isfinite().all(1)
            self._lost += int((~finite).sum())
            self._metric(layer, heard).update(features[finite], labels.to(finite.device)[finite])

    def _metric(self, layer: str, heard: Heard) -> NeuralCollapse:
        if layer not in self.metrics:
            K = heard.width
            if K is None:
                raise ValueError("without a head the number of classes is unknown; keep head=None")
            features = heard.features[layer]
            self.metrics[layer] = NeuralCollapse(
                K, features.shape[1], keys=self.keys, memory_budget=2e8, device=features.device
            )
        return self.metrics[layer]

    def readings(self) -> dict[str, dict[str, float]]:
        """Values by layer and key; call on every rank. NaN, with a warning, where features were."""
        self.listener.close()
        taps = self.listener.taps
        if taps.head is not None:
            taps.refresh()
        lost = torch.tensor([float(self._lost)])
        lost = total(lost) if in_group() else lost
        if float(lost):
            said = "evaluation met NaN or infinite features; its readings are NaN"
            warnings.warn(said, NCollapseWarning, stacklevel=2)
        layers = (
            taps.layers if float(lost) else [name for name in taps.layers if name in self.metrics]
        )
        return {layer: self._read(layer, lost=bool(lost)) for layer in layers}

    def _read(self, layer: str, *, lost: bool) -> dict[str, float]:
        head = self.listener.taps.head
        headed = layer == HEAD and (lost or head is not None)
        keys = [key for key in self.keys if headed or "head" not in METRICS[key].needs]
        empty = dict.fromkeys(keys, float("nan"))
        if lost:
            return empty
        metric = self.metrics[layer]
        whole = (metric.sync() if in_group() else metric).moments
        weight, bias = (head.weight, head.bias) if headed and head is not None else (None, None)
        if int((whole.counts > 0).sum()) < 2:
            return empty
        values = values_of(whole, keys, metric.definition, weight, bias)
        return {key: float(values[key]) for key in keys}


def numbers(readings: Mapping[str, Mapping[str, Reading]]) -> dict[str, dict[str, float]]:
    """Values by layer and key, NaN for null: the keys must be the same on all ranks."""
    return {
        layer: {
            key: float("nan") if reading.value is None else reading.value
            for key, reading in found.items()
        }
        for layer, found in readings.items()
    }


def split_of(metrics: Mapping[str, float]) -> str:
    """What a Hugging Face evaluation is called by its metrics: the name of the data set among
    several, "eval" for a single one; it stands before `_runtime`."""
    prefix = next((key.removesuffix("_runtime") for key in metrics if "_runtime" in key), "eval")
    return prefix.removeprefix("eval").strip("_") or "eval"


def model_of(module: nn.Module, name: str | None, plain: Any) -> nn.Module:
    """The part of a training module that makes the logits: `name`, else the module where its
    forward is not the `plain` one of its base class, else its child with most parameters.

    Raises ValueError when nothing is so named, or no child has parameters.
    """
    if name is not None:
        found = dict(module.named_modules()).get(name)
        if found is None:
            listed = ", ".join(child for child, _ in module.named_children())
            raise ValueError(f"model {name!r} is no module here; there are {listed}")
        return found
    if type(module).forward is not plain:
        return module
    sizes = {child: sum(p.numel() for p in child.parameters()) for child in module.children()}
    best = max(sizes, key=lambda child: sizes[child], default=None)
    if best is None or not sizes[best]:
        raise ValueError("this module has no forward and no child with parameters; pass model=NAME")
    return best
