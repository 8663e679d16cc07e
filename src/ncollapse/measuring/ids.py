"""Labels that are identifiers: numbers far beyond the classes that occur become 0..K-1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ncollapse.collect.ranks.parts import PartSource
from ncollapse.collect.ranks.ranks import Ranks, WholeLabels
from ncollapse.sources.features.arrays import FeatureSource

if TYPE_CHECKING:
    from ncollapse.collect.plan import Labelled

# Up to so many classes, and so many a sample, labels are class numbers as they stand: tables of all
# of them cost little, and classes without samples are named.
DENSE, A_SAMPLE = 1 << 16, 4
Sources = Mapping[str, FeatureSource]


def whole(source: FeatureSource, ranks: Ranks | None) -> Labelled:
    """What classes are counted from: of the source that all ranks hold parts of."""
    if ranks is None:
        return source
    return source.whole if isinstance(source, PartSource) else WholeLabels(source, ranks)


def numbered(
    sources: Sources, num_classes: int | None, ignore_index: int | None, ranks: Ranks | None
) -> tuple[Sources, list[str]]:
    """Sources whose labels are few identifiers with those numbered in order and as class names, and
    a sentence; as they are where a head or `num_classes` says how many classes there are.

    Raises ValueError for one wild label among ordinary class numbers.
    """
    held = whole(list(sources.values())[-1], ranks)
    labels = held.labels
    kept = labels if ignore_index is None else labels[labels != ignore_index]
    known = held.weight is not None or num_classes is not None
    samples = max(getattr(held, "num_samples", 0), kept.numel())
    limit = max(DENSE, A_SAMPLE * samples)
    if known or kept.numel() == 0 or int(kept.min()) < 0 or int(kept.max()) < limit:
        return sources, []
    ids = kept.unique()
    ordinary = ids[ids < limit]
    number = ordinary.numel()
    if number > ids.numel() - number and number >= 2 and 2 * number > int(ordinary.max()):
        row = int((labels >= limit).nonzero()[0])
        where = f" of sample {row}" if ranks is None else ""
        raise ValueError(
            f"{held.description}: label {int(labels[row])}{where} stands beside class numbers "
            f"0..{int(ordinary.max())}; repair it, skip it by ignore_index, or pass num_classes"
        )

    def place(given: Tensor) -> Tensor:
        found = torch.searchsorted(ids, given).clamp(max=ids.numel() - 1)
        return torch.where(ids[found] == given, found, given)

    names = tuple(str(one) for one in ids.tolist())
    changed: dict[str, FeatureSource] = {}
    for name, source in sources.items():
        changed[name] = source.relabelled(place)
        changed[name].class_names = names
    note = (
        f"labels are identifiers up to {names[-1]}: the {len(names)} that occur are numbered in "
        "order, and are the names of the classes"
    )
    return changed, [note]
