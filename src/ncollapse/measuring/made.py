"""The head of a model as a source has it: rows of classes, or one of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ncollapse.collect.tap.loaders import class_names_in
from ncollapse.collect.tap.ordered import thresholds_of
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.sources.features.arrays import FeatureSource


def check_names(class_names: Any, taps: Taps) -> None:
    """Raise ValueError where data has another number of classes than the head."""
    if class_names is None or taps.head is None:
        return
    ordered = thresholds_of(taps.model, taps.head.name)
    K = taps.head.weight.shape[0] if ordered is None else ordered[0].numel() - 1
    if len(class_names) != K:
        raise ValueError(
            f"the data has names of {len(class_names)} classes and the head {taps.head.name!r} is "
            f"{K} wide; a model trained on these classes is needed (num_classes, --num-classes and "
            "weights say which), or data with the model's own class numbers"
        )


def names_known(class_names: Any, taps: Taps, loaders: Mapping[str, Any]) -> Any:
    """The names that were passed, else those that the data knows of as many classes as the head
    tells apart."""
    if class_names is not None or taps.head is None:
        return class_names
    return class_names_in(loaders.values(), int(taps.head.weight.shape[0]))


def head_of(taps: Taps, layer: str) -> dict[str, Any]:
    """Weight and bias for the source of the layer that enters the head; nothing for others."""
    if layer != HEAD or taps.head is None:
        return {}
    return {"weight": taps.head.weight, "bias": taps.head.bias}


def as_made(source: FeatureSource, taps: Taps) -> FeatureSource:
    """The source with a head of one output as it is, where that makes a number and no class."""
    if source.targets is not None and source.weight is not None and _one_number(taps):
        source.weight = 2 * source.weight[1:]
        source.bias = None if source.bias is None else 2 * source.bias[1:]
    return source


def _one_number(taps: Taps) -> bool:
    return taps.head is not None and taps.head.binary
