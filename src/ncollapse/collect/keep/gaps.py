"""Ranks that got no sample: they learn from the others what there is to measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ncollapse.collect.keep.cache import FeatureCache
from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.collect.tap.taps import Taps


def first_full(shapes: Sequence[Mapping[str, Any]]) -> int | None:
    """The first rank that read layers, None where none did; `shapes` are those of each rank.

    Raises ValueError when two ranks read different ones.
    """
    full = [rank for rank, layers in enumerate(shapes) if layers]
    for rank in full:
        if shapes[rank] != shapes[full[0]]:
            raise ValueError(
                f"rank {full[0]} read layers {shapes[full[0]]} and rank {rank} {shapes[rank]}; "
                "the same model and layers are needed on every rank"
            )
    return full[0] if full else None


def fill_gaps(cache: FeatureCache, taps: Taps, ranks: Ranks) -> None:
    """A rank without a sample learns of the others which layers, widths and head there are.

    Raises ValueError on all ranks when none has a sample or they disagree.
    """
    shapes = cache.shapes()
    said = (dict(taps.pooling), dict(taps.channels))
    found = ranks.gather((shapes, taps.head is not None, said))
    first = first_full([layers for layers, _, _ in found])
    if first is None:
        raise ValueError("the loaders are empty on every rank; no sample to measure")
    cache.widen(found[first][0])
    if not all(layers for layers, _, _ in found) and taps.wants_head:
        head = ranks.from_rank(first, taps.head)
        taps.head = head if taps.head is None else taps.head
    if not shapes:
        for name in [name for name in taps.modules if name not in found[first][0]]:
            del taps.modules[name]
        taps.pooling.update(found[first][2][0])
        taps.channels.update(found[first][2][1])
