"""Ordered grades: labels are places in an order, and class means should lie in it on one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.collector import Collector, Part, Split, Statistics
from ncollapse.collect.plan import Labelled, class_count
from ncollapse.collect.statistics.blocks import BlockMoments
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.geometry import Geometry
from ncollapse.links import check_link, check_thresholds
from ncollapse.metrics.classes import class_rows
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.onc import Latent
from ncollapse.sources.features.arrays import FeatureSource
from ncollapse.tasks.classification import (
    BLOCKS,
    MOMENTS,
    RESIDUALS,
    Classification,
    stored_means,
    undecided,
)
from ncollapse.tasks.task import Asked, Found


@dataclass
class _Labels:
    """Labels without the head, whose one row says nothing of how many grades there are."""

    labels: Tensor
    splits: tuple[str, ...]
    split_codes: Tensor | None
    description: str
    weight: Tensor | None = None
    targets: Tensor | None = None


@dataclass(frozen=True)
class Ordinal(Classification):
    """See `ncollapse.tasks.task.Task`. It collects what classification does, without decisions."""

    name: str = "ordinal"
    sees: str = "labels"
    counted: str = "grades"

    def recognised(self, source: Labelled) -> str | None:
        if source.labels.dtype.is_floating_point or getattr(source, "thresholds", None) is None:
            return None
        return "the head is one latent score that thresholds cut into grades"

    def class_count(
        self,
        source: Labelled,
        asked: int | None,
        ignore_index: int | None,
        reference: str | None = None,
    ) -> int:
        """Q: of the thresholds, else as asked, else the largest label + 1.

        Raises ValueError for a head that is not one row, thresholds that do not serve or disagree
        with num_classes, and labels outside the grades.
        """
        _check_head(source)
        grades = asked
        thresholds = getattr(source, "thresholds", None)
        if thresholds is not None:
            grades = len(check_thresholds(thresholds.flatten().tolist())) - 1
            check_link(getattr(source, "link", "logit"))
            if asked is not None and asked != grades:
                raise ValueError(
                    f"num_classes={asked} but {grades + 1} thresholds cut the line into {grades} "
                    "grades; leave num_classes out"
                )
            outside = (source.labels < 0) | (source.labels >= grades)
            if ignore_index is not None:
                outside &= source.labels != ignore_index
            if bool(outside.any()):
                row = int(outside.nonzero()[0])
                raise ValueError(
                    f"{source.description}: label {int(source.labels[row])} of sample {row} lies "
                    f"outside the {grades} grades 0..{grades - 1}; count grades from 0 in their "
                    "order, or skip a label by ignore_index"
                )
        bare = _Labels(source.labels, source.splits, source.split_codes, source.description)
        return class_count(bare, grades, ignore_index, reference)

    # ---- collecting ---------------------------------------------------------------------------
    def second(self, part: Part, found: Mapping[str, Statistics]) -> Statistics:
        return super().second(undecided(part), found)

    def estimate(self, parts: list[Part]) -> int:
        return super().estimate([undecided(part) for part in parts])

    # ---- reading ------------------------------------------------------------------------------
    def read(self, collector: Collector, split: Split, asked: Asked, layer: str) -> Found:
        source, held = collector.source, split.statistics()
        moments, blocks, residuals = held[MOMENTS], held.get(BLOCKS), held.get(RESIDUALS)
        assert isinstance(moments, ClassMoments)
        assert blocks is None or isinstance(blocks, BlockMoments)
        assert residuals is None or isinstance(residuals, Residuals)
        statistics = moments.statistics()
        if statistics.num_classes < 2:
            said = f"{split.name}: one grade only, so ONC is not measured on this split"
            return Found({}, statistics.num_samples, notes=(said,))
        geometry, latent = moments.geometry(), latent_of(source)
        stored = stored_means(source, geometry)
        evidence = Evidence(
            statistics,
            geometry,
            None,
            blocks,
            torch.finfo(source.dtype).eps,
            residuals,
            stored,
            latent=latent,
            task=self.name,
        )
        readings, unread = asked.compared(evidence)
        names = source.class_names
        notes = [*unread, *_unsaid(source, latent, moments.counts)]
        return Found(
            readings,
            statistics.num_samples,
            geometry,
            tuple(class_rows(evidence, split=split.name, layer=layer, names=names)),
            tuple(f"{split.name}: {said}" for said in notes),
            {},
            {} if latent is None else _line(evidence, geometry, latent),
        )


TASK = Ordinal()


def latent_of(source: FeatureSource) -> Latent | None:
    """The head of a source in float64, None where none is known. One logit that stands as the rows
    -w/2 and w/2 of two classes is read as what it is."""
    if source.weight is None:
        return None
    weight = source.weight.to(torch.float64)
    bias = None if source.bias is None else source.bias.to(torch.float64)
    row = weight[0] if len(weight) == 1 else weight[1] - weight[0]
    shift = 0.0
    if bias is not None:
        shift = float(bias[0] if len(bias) == 1 else bias[1] - bias[0])
    return Latent(row, source.thresholds, shift, source.link)


def _check_head(source: Labelled) -> None:
    weight = source.weight
    if (
        weight is None
        or len(weight) == 1
        or (len(weight) == 2 and bool((weight[0] == -weight[1]).all()))
    ):
        return
    raise ValueError(
        f"{source.description}: the head has {len(weight)} rows, and ordered grades are read off "
        'one latent score, a weight (1, dim); pass that, or measure it as task="classification"'
    )


def _unsaid(source: FeatureSource, latent: Latent | None, counts: Tensor) -> list[str]:
    """What is missing, and grades without a sample."""
    found = []
    if latent is None:
        found.append(
            "no weight (1, dim) of a head was given: ONC2-2, ONC3 and the order are unknown"
        )
    absent = (counts == 0).nonzero().flatten().tolist()
    if absent:
        listed = ", ".join(str(q) for q in absent[:10])
        found.append(f"{len(absent)} of {counts.numel()} grades have no sample: {listed}")
    return found


def _line(evidence: Evidence, geometry: Geometry, latent: Latent) -> dict[str, Any]:
    """The latent line for the config: per grade with samples its number, mean score and count; what
    theory says; the spread of scores within grades, √(wᵀΣ_W w)."""
    statistics = evidence.statistics
    assert geometry.means is not None
    present, limits = statistics.present, latent.limits
    scatter = statistics.scatter("micro")
    width = None
    if scatter is not None:
        width = float((latent.weight @ scatter @ latent.weight).clamp_min(0).sqrt())
    kept = torch.arange(statistics.num_classes) if present is None else present
    return {
        "grades": kept.tolist(),
        "positions": latent.positions(geometry.means).tolist(),
        "counts": statistics.counts.tolist(),
        "limits": None if limits is None else limits[kept].tolist(),
        "thresholds": None if latent.thresholds is None else latent.thresholds.tolist(),
        "link": latent.link,
        "spread": width,
    }
