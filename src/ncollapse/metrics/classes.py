"""Rows of single classes: how wide each is, how far its neighbour, how well it is told."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ncollapse.geometry import LARGEST_GRAM
from ncollapse.metrics.class_rank import class_ranks
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.nc1 import class_shares
from ncollapse.metrics.population.nc1 import shares
from ncollapse.metrics.population.sample import Sample
from ncollapse.record.readings import ClassRow


def class_rows(
    evidence: Evidence, *, split: str, layer: str, names: Sequence[str] | None
) -> list[ClassRow]:
    """One row a class that is present; none where pairs of classes were drawn, or there are no
    means."""
    geometry, statistics, decisions = evidence.geometry, evidence.statistics, evidence.decisions
    present = statistics.present
    if geometry is None or present is None or not geometry.pairs.exact:
        return []
    pairs = geometry.mean_pairs
    assert pairs.nearest is not None and pairs.nearest_distance is not None
    norms = geometry.mean_norms
    cosines: list[float | None] = [None] * len(norms)
    if geometry.weight is not None:
        dots = (geometry.weight * geometry.centred_means).sum(1)
        found = (dots / (geometry.weight_norms * norms)).tolist()
        # A zero row points nowhere: heads start so, and dead classes end so.
        cosines = [cosine if math.isfinite(cosine) else None for cosine in found]
    hits: list[float] | None = None
    if decisions is not None and decisions.has_head:
        hits = (decisions.correct_head / decisions.counts.clamp_min(1))[present].tolist()
    index = present.tolist()
    shares, rivals = _shares(evidence)
    ranks: list[float | None] = [None] * len(index)
    if evidence.residuals is not None and len(index) <= LARGEST_GRAM:
        ranks = class_ranks(evidence.residuals)
    columns = zip(
        index,
        statistics.counts.tolist(),
        norms.tolist(),
        statistics.traces.tolist(),
        pairs.nearest.tolist(),
        pairs.nearest_distance.tolist(),
        strict=True,
    )
    return [
        ClassRow(
            split=split,
            layer=layer,
            name=name_of(names, k),
            index=k,
            count=count,
            norm=norm,
            within=within,
            nearest=name_of(names, index[nearest]),
            distance=distance,
            cosine=cosines[i],
            accuracy=None if hits is None else hits[i],
            share=shares[i],
            rival="" if shares[i] is None else name_of(names, index[rivals[i]]),
            rank=ranks[i],
        )
        for i, (k, count, norm, within, nearest, distance) in enumerate(columns)
    ]


def _shares(evidence: Evidence) -> tuple[list[float | None], list[int]]:
    """Per class the least share that means explain, and with which class: of the population where
    the noise of means is known."""
    statistics, geometry = evidence.statistics, evidence.geometry
    assert geometry is not None
    K = statistics.num_classes
    if statistics.num_samples == K:
        return [None] * K, [0] * K
    if K > LARGEST_GRAM:
        found, rivals = class_shares(statistics, geometry)
    else:
        found, rivals = shares(Sample.of(statistics, geometry, "macro"))
    return found.tolist(), rivals.tolist()


def name_of(names: Sequence[str] | None, index: int) -> str:
    """A class's name, its number where names are not known."""
    return str(index) if names is None else names[index]
