"""Whole numbers of a floating-point dtype that are class numbers: tables and files often hold them
so."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ncollapse.collect.ranks.parts import PartSource
from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.measuring.ids import Sources, whole
from ncollapse.sources.features.arrays import FeatureSource
from ncollapse.tasks import AUTO

# Samples a class, on average, from which on numbers without gaps are taken for classes.
SAMPLES = 2
CLASSES = (AUTO, "classification")


def classed(
    sources: Sources, task: str, ignore_index: int | None, ranks: Ranks | None
) -> tuple[Sources, list[str]]:
    """Sources whose targets are class numbers with those as labels, and a sentence; as they are
    otherwise.

    Targets are, of one number a sample and all of them whole, where a head has a row a class or the
    task is classification, or where they begin at 0 or 1, leave no gap and occur twice or more on
    average.
    """
    held = whole(list(sources.values())[-1], ranks)
    targets = held.targets
    if task not in CLASSES or targets is None or targets.shape[1] != 1:
        return sources, []
    numbers = targets[:, 0]
    if not bool((numbers == numbers.round()).all()):
        return sources, []
    rows = 0 if held.weight is None else int(held.weight.shape[0])
    if not (rows > 1 or task != AUTO or (rows == 0 and _dense(numbers, ignore_index))):
        return sources, []
    note = (
        f"labels are whole numbers of dtype {str(targets.dtype).removeprefix('torch.')}, which "
        "were taken for class numbers; task='regression' takes them for numbers"
    )
    return {name: _numbered(source) for name, source in sources.items()}, [note]


def _dense(numbers: Tensor, ignore_index: int | None) -> bool:
    kept = numbers if ignore_index is None else numbers[numbers != ignore_index]
    found = kept.unique()
    count = int(found.numel())
    if count < 2 or float(found[0]) not in (0.0, 1.0):
        return False
    return float(found[-1] - found[0]) == count - 1 and kept.numel() >= SAMPLES * count


def _numbered(source: FeatureSource) -> FeatureSource:
    targets = source.targets
    assert targets is not None
    found = copy.copy(source)
    found.__dict__.pop("fingerprint", None)
    found.labels, found.targets = targets[:, 0].to(torch.int64), None
    if isinstance(found, PartSource):
        found.whole = _numbered(found.whole)
    return found
