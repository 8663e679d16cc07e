"""What layers are told before they are read: what the model decides, which weight comes next."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from ncollapse.collect.plan import CHUNK_ROWS
from ncollapse.collect.statistics.decided import decided_by
from ncollapse.collect.tap.head_layers import whole
from ncollapse.collect.tap.taps import HEAD, Taps, called
from ncollapse.measuring.options import Options
from ncollapse.metrics.alignment import strongest
from ncollapse.sources.features.arrays import FeatureSource


def steps_of(taps: Taps) -> tuple[str, ...]:
    """Layers that have weights: norms, activations and pooling are no steps of a path."""
    weighted = {
        name
        for name, module in taps.modules.items()
        if any(parameter.dim() > 1 for parameter in module.parameters())
    }
    return tuple(layer for layer in taps.layers if called(layer) in weighted)


def with_depth(
    sources: Mapping[str, FeatureSource], taps: Taps, options: Options
) -> dict[str, FeatureSource]:
    """The sources, those before the head with what the model decides of every sample, and with what
    the weight behind them reads most. One look at the head's features where there are others."""
    if len(sources) < 2:
        return dict(sources)
    head = sources.get(HEAD)
    decided = None
    if options.decisions and head is not None and head.weight is not None:
        decided = decided_by(head, CHUNK_ROWS)
    K = options.num_classes if taps.head is None else taps.head.weight.shape[0]
    found: dict[str, FeatureSource] = {}
    for name, source in sources.items():
        reader = taps.readers.get(name)
        if name != HEAD and (decided is not None or reader is not None):
            source = copy.copy(source)
            source.decided = decided
            if reader is not None and K is not None and 1 < K <= source.num_features:
                source.reads = strongest(whole(reader.weight), K - 1)
        found[name] = source
    return found
