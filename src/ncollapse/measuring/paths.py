"""The way of samples through layers of one width, against the straight line between its ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.plan import CHUNK_ROWS, Plan
from ncollapse.collect.tap.taps import HEAD
from ncollapse.record.readings import reference_of
from ncollapse.sources.features.arrays import FeatureSource

# What is kept of all layers at once, in bytes and rows; optimal transport takes `MATCHED` of them.
KEPT, ROWS, MATCHED = 256e6, 4096, 1000
# Wider layers would need d × d matrices that are larger than what is kept.
WIDEST = 4096


def path_of(
    sources: Mapping[str, FeatureSource], plan: Plan, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """The `Geodesic` of the reference split as plain data with the names of its layers, empty
    where there is none; and sentences that say why, or which layers it leaves out.

    The path ends with the last layer before the head and goes back as long as layers are as wide.
    """
    from ncollapse.metrics.geodesic import geodesic

    names = [name for name in sources if name != HEAD]
    if len(names) < 3:
        return {}, [
            f"no geodesic: {len(names)} layers with weights before the head; three make a path"
        ]
    width = sources[names[-1]].num_features
    kept: list[str] = []
    for name in reversed(names):
        if sources[name].num_features != width:
            break
        kept.insert(0, name)
    if len(kept) < 3:
        odd = names[-1 - len(kept)]
        return {}, [
            f"no geodesic: {odd} leaves {sources[odd].num_features} features and {kept[0]} "
            f"{width}; three layers of one width at the end of the network make a path"
        ]
    if width > WIDEST:
        return {}, [f"no geodesic: layers are {width} wide; {WIDEST} at most are compared"]
    notes = []
    if len(kept) < len(names):
        odd = names[-1 - len(kept)]
        notes.append(
            f"the geodesic begins at {kept[0]}: {odd} leaves {sources[odd].num_features} features, "
            f"not {width}"
        )
    rows = _rows(sources[kept[-1]], plan, int(min(ROWS, KEPT / (4 * width * len(kept)))), seed)
    labels = sources[kept[-1]].labels[rows]
    if labels.unique().numel() < 2:
        return {}, ["no geodesic: the samples that were drawn for it are of one class"]
    if any("#" in name for name in kept):
        notes.append("calls of one module are steps of the geodesic")
    path = [_read(sources[name], rows) for name in kept]
    found = geodesic(path, labels, exact=MATCHED, seed=seed).to_dict()
    return {"layers": kept, "width": width, **found}, notes


def _rows(source: FeatureSource, plan: Plan, most: int, seed: int) -> Tensor:
    """Numbers of samples of the reference split that count, drawn at random where they are many."""
    labels = source.labels
    mine = (labels >= 0) & (labels < plan.num_classes)
    if plan.ignore_index is not None:
        mine &= labels != plan.ignore_index
    if source.split_codes is not None:
        split = source.splits.index(reference_of(source.splits, plan.reference))
        mine &= source.split_codes == split
    rows = mine.nonzero().flatten()
    if rows.numel() <= most:
        return rows
    generator = torch.Generator().manual_seed(seed)
    return rows[torch.randperm(rows.numel(), generator=generator)[:most]].sort().values


def _read(source: FeatureSource, rows: Tensor) -> Tensor:
    """Those rows of a source."""
    found, start = [], 0
    for block in source.rows(0, CHUNK_ROWS):
        stop = start + block.shape[0]
        inside = rows[(rows >= start) & (rows < stop)] - start
        if inside.numel():
            found.append(
                block[inside].to(torch.float32 if block.element_size() < 8 else block.dtype)
            )
        start = stop
    return torch.cat(found)
