"""Several labels a sample: single-label means as a simplex, means of sets as sums of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.collector import Collector, Part, Split, Statistics
from ncollapse.collect.plan import Labelled
from ncollapse.collect.statistics.blocks import BlockMoments
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.collect.statistics.tags import SetMoments, label_sets
from ncollapse.geometry import Geometry
from ncollapse.metrics.classes import class_rows
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.tags import Tags, tag_scale
from ncollapse.record.readings import reference_of
from ncollapse.sources.features.arrays import NO_SINGLE, several_labels
from ncollapse.tasks.classification import (
    BLOCKS,
    MOMENTS,
    RESIDUALS,
    Classification,
    stored_means,
    undecided,
)
from ncollapse.tasks.task import Asked, Found
from ncollapse.theory.solvers.multilabel import scales_from_gap

SETS = "sets"


@dataclass(frozen=True)
class Multilabel(Classification):
    """See `ncollapse.tasks.task.Task`. Samples with one label are collected as classes are, and
    means of all sets of labels beside them."""

    name: str = "multilabel"
    sees: str = "labels"
    counted: str = "labels"

    def recognised(self, source: Labelled) -> str | None:
        targets = source.targets
        if targets is None or not several_labels(targets):
            return None
        most = int(targets.sum(1).max())
        return f"a sample has several labels: rows of 0 and 1, up to {most} ones"

    def class_count(
        self,
        source: Labelled,
        asked: int | None,
        ignore_index: int | None,
        reference: str | None = None,
    ) -> int:
        """K, the columns of the label matrix. Raises ValueError for labels that are no matrix of 0
        and 1, a head of another width, and fewer than two labels that stand alone."""
        targets, said = source.targets, source.description
        if targets is None or not bool(((targets == 0) | (targets == 1)).all()):
            raise ValueError(
                f"{said}: task 'multilabel' takes labels as a matrix (samples, K) of 0 and 1; "
                "class numbers are task 'classification'"
            )
        K = int(targets.shape[1])
        for name, found in (
            ("num_classes", asked),
            ("rows of the weight", None if source.weight is None else source.weight.shape[0]),
        ):
            if found is not None and found != K:
                raise ValueError(
                    f"{said}: {name} are {found} but a sample has {K} labels to have; one a label "
                    "is needed"
                )
        if ignore_index != NO_SINGLE:
            raise ValueError(
                f"ignore_index={ignore_index}; task 'multilabel' marks samples without a single "
                f"label by {NO_SINGLE}: leave ignore_index as it is"
            )
        single = targets.sum(1) == 1
        if source.split_codes is not None and source.split_codes.numel() == len(targets):
            single &= source.split_codes == source.splits.index(
                reference_of(source.splits, reference)
            )
        alone = int(targets[single].any(0).sum())
        if alone < 2:
            raise ValueError(
                f"{said}: {alone} of {K} labels stand alone in some sample; multi-label collapse "
                "compares with samples that have one label, of at least two labels: measure it "
                "as task='regression', or add such samples (of labels of tokens: tokens='same')"
            )
        return K

    # ---- collecting ---------------------------------------------------------------------------
    def first(self, part: Part) -> Statistics:
        targets = part.source.targets
        assert targets is not None
        sets, _ = label_sets(targets)
        return {**super().first(part), SETS: SetMoments(sets, part.source.num_features)}

    def second(self, part: Part, found: Mapping[str, Statistics]) -> Statistics:
        return super().second(undecided(part), found)

    def estimate(self, parts: list[Part]) -> int:
        return super().estimate([undecided(part) for part in parts])

    # ---- reading ------------------------------------------------------------------------------
    def read(self, collector: Collector, split: Split, asked: Asked, layer: str) -> Found:
        source, held = collector.source, split.statistics()
        moments, blocks, residuals = held[MOMENTS], held.get(BLOCKS), held.get(RESIDUALS)
        sets = held[SETS]
        assert isinstance(moments, ClassMoments) and isinstance(sets, SetMoments)
        assert blocks is None or isinstance(blocks, BlockMoments)
        assert residuals is None or isinstance(residuals, Residuals)
        statistics = moments.statistics()
        total = int(sets.counts.sum())
        if statistics.num_classes < 2:
            said = f"{split.name}: fewer than two labels stand alone, so nothing is measured on it"
            return Found({}, total, notes=(said,))
        geometry = moments.geometry(source.weight, source.bias)
        stored = stored_means(source, geometry)
        present = (moments.counts > 0).nonzero().flatten()
        tags = Tags.of(
            sets.sets,
            sets.counts[: len(sets.sets)],
            sets.means[: len(sets.sets)].double(),
            moments.means[present].double(),
            present,
        )
        evidence = Evidence(
            statistics,
            geometry,
            None,
            blocks,
            torch.finfo(source.dtype).eps,
            residuals,
            stored,
            tags=tags,
            task=self.name,
        )
        readings, unread = asked.compared(evidence)
        # A scale of so many labels that no sample has is no reading that failed.
        absent = {key for key in readings if _of_absent(key, tags)}
        readings = {key: found for key, found in readings.items() if key not in absent}
        notes = [said for said in unread if said.partition(" ")[0] not in absent]
        details = _details(geometry, moments, sets, tags)
        notes += _unsaid(details, len(moments.counts), len(present))
        names = source.class_names
        return Found(
            readings,
            total,
            geometry,
            tuple(class_rows(evidence, split=split.name, layer=layer, names=names)),
            tuple(f"{split.name}: {said}" for said in notes),
            {},
            details,
        )


TASK = Multilabel()


def _of_absent(key: str, tags: Tags | None) -> bool:
    stem, _, m = key.rpartition("_")
    return stem == "ml_scale" and (tags is None or not bool((tags.sizes == int(m)).any()))


def _details(
    geometry: Geometry, moments: ClassMoments, sets: SetMoments, tags: Tags | None
) -> dict[str, Any]:
    """Samples and sets by number of labels; C_m of every m, and what theory says of it from the
    measured gap of one label alone, where a head is known."""
    size, counts = sets.sets.sum(1), sets.counts[: len(sets.sets)]
    found: dict[str, Any] = {
        "samples": {int(m): int(counts[size == m].sum()) for m in size.unique()},
        "sets": {int(m): int((size == m).sum()) for m in size.unique()},
    }
    if tags is None:
        return found
    sizes = tuple(int(m) for m in tags.sizes.unique())
    found["scales"] = {m: float(tag_scale(tags, m)) for m in sizes}
    first = _gap(geometry)
    if first is not None and first > 0 and math.isfinite(first):
        found["gap"] = first
        found["predicted"] = scales_from_gap(first, len(moments.counts), sizes)
    return found


def _gap(geometry: Geometry) -> float | None:
    """β_1: logits of single-label means, their own less the mean of the others, averaged."""
    if geometry.weight is None or geometry.means is None:
        return None
    logits: Tensor = geometry.centred_means @ geometry.weight.T
    K = len(logits)
    own = logits.diagonal()
    return float((own - (logits.sum(1) - own) / (K - 1)).mean())


def _unsaid(details: Mapping[str, Any], labels: int, alone: int) -> list[str]:
    found = []
    if alone < labels:
        found.append(
            f"{labels - alone} of {labels} labels never stand alone: they and all sets with one of "
            "them are left out"
        )
    if "scales" not in details:
        found.append("no set of several labels is left to compare with sums of single ones")
    return found
