"""The samples a tracker looks at: a fixed subset with as many of every class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.tap.batches import Unpack, as_loader, unpack_batch


def balanced(
    data: Any, per_class: int, *, unpack: Unpack | None = None, batch_size: int = 128
) -> list[tuple[Any, Tensor]]:
    """The first `per_class` samples of every class, kept in memory as batches (inputs, labels).

    Reads the data once, in its own order. Raises ValueError for per_class < 2, targets of a
    regression and empty data.
    """
    if per_class < 2:
        raise ValueError(f"per_class={per_class}; spread within a class needs at least 2 samples")
    taken: dict[int, int] = {}
    kept: list[tuple[Any, Tensor]] = []
    for raw in as_loader(data, batch_size):
        batch = unpack_batch(raw, unpack, numbers=True)
        if batch.labels.is_floating_point():
            raise ValueError(
                f"per_class={per_class} counts samples of a class, and these labels are real "
                "numbers, the targets of a regression; leave per_class out"
            )
        rows = []
        for row, label in enumerate(batch.labels.tolist()):
            if label >= 0 and taken.get(label, 0) < per_class:
                taken[label] = taken.get(label, 0) + 1
                rows.append(row)
        if rows:
            place = torch.tensor(rows)
            kept.append((batch.taken(batch.inputs, place), batch.labels[place].clone()))
    if not kept:
        raise ValueError("the probe data is empty; no sample to follow")
    return kept
