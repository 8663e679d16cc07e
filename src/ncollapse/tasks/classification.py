"""Classification: labels are class numbers, and the classes' means should stand as a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.collector import Collector, Part, Split, Statistics
from ncollapse.collect.plan import Labelled, class_count
from ncollapse.collect.statistics.blocks import BlockMoments
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.decisions import Decisions, MeanNoise
from ncollapse.collect.statistics.directions import Directions, Rays
from ncollapse.collect.statistics.protocol import working_dtype
from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.collect.statistics.span import SpanScatter
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.linalg import EPSILON
from ncollapse.metrics.alignment import strongest
from ncollapse.metrics.classes import class_rows, name_of
from ncollapse.metrics.evidence import Evidence
from ncollapse.pairs.means import SAMPLED, pairs_of
from ncollapse.sources.features.arrays import FeatureSource
from ncollapse.sources.features.spanned import SpannedSource
from ncollapse.tasks.task import Asked, Found

MOMENTS, DECISIONS, BLOCKS, RESIDUALS = "moments", "decisions", "blocks", "residuals"
SPAN, DIRECTIONS = "span", "directions"
# Multiplications of a second look up to which it runs in float64: ten seconds of one core.
EXACT_DECISIONS = 2e11
NAMED = 10
# Below it (and above its inverse) fourth powers lose digits: about 1e-73.
FOURTH_ROOT = (torch.finfo(torch.float64).tiny / torch.finfo(torch.float64).eps) ** 0.25


@dataclass(frozen=True)
class Classification:
    """See `ncollapse.tasks.task.Task`."""

    name: str = "classification"
    sees: str = "labels"
    counted: str = "classes"

    def recognised(self, source: Labelled) -> str | None:
        if source.targets is not None:
            return None
        if getattr(source, "thresholds", None) is not None:
            return None  # Of ordered grades.
        if getattr(source, "tokens", None) == "next":
            return None  # Of a language model.
        return "labels are class numbers"

    def class_count(
        self,
        source: Labelled,
        asked: int | None,
        ignore_index: int | None,
        reference: str | None = None,
    ) -> int:
        return class_count(source, asked, ignore_index, reference)

    # ---- collecting ---------------------------------------------------------------------------
    def first(self, part: Part) -> Statistics:
        source, plan = part.source, part.plan
        moments = ClassMoments(
            plan.num_classes,
            source.num_features,
            mode=plan.mode,
            weighting=plan.weighting,
            counts=part.counts,
            pilots=part.pilots,
            memory_budget=plan.memory_budget,
            seed=plan.seed,
            ignore_index=plan.ignore_index,
        )
        if plan.exact and working_dtype(source.dtype) == torch.float32:
            # Exact sums do not make float32 features finer.
            moments.coarsen(torch.finfo(torch.float32).eps ** 2)
        found: Statistics = {MOMENTS: moments}
        if plan.directions:
            # A fifth of a whole measurement at K = 10, d = 512: only where asked for.
            found[DIRECTIONS] = Directions(plan.num_classes, source.num_features, plan.ignore_index)
        return found

    def second(self, part: Part, found: Mapping[str, Statistics]) -> Statistics:
        plan, source = part.plan, part.source
        result: Statistics = {}
        leading = next(iter(found.values()))[MOMENTS]
        assert isinstance(leading, ClassMoments)
        if plan.decisions:
            present = (leading.counts > 0).nonzero().flatten()
            # In float64 two products cost twice as much: exact only where that is little.
            cost = float(leading.counts.sum()) * plan.num_classes * source.num_features
            result[DECISIONS] = Decisions(
                leading.means[present],
                present,
                plan.num_classes,
                source.weight,
                source.bias,
                exact=plan.exact and cost <= EXACT_DECISIONS,
                noise=MeanNoise.of(leading.statistics()),
                own=part.name == next(iter(found)),
                decided=source.decided is not None,
            )
        if _with_blocks(part, len(found)):
            moments = found[part.name][MOMENTS]
            assert isinstance(moments, ClassMoments)
            result[BLOCKS] = BlockMoments(moments)
        if plan.wide:
            moments = found[part.name][MOMENTS]
            assert isinstance(moments, ClassMoments)
            if _apart(moments):
                result[SPAN] = SpanScatter(moments)
        if _with_residuals(part, len(found)):
            moments = found[part.name][MOMENTS]
            assert isinstance(moments, ClassMoments)
            result[RESIDUALS] = Residuals(moments, working_dtype(source.dtype), seed=plan.seed)
        return result

    def estimate(self, parts: list[Part]) -> int:
        total = 0
        for part in parts:
            K, d = part.plan.num_classes, part.source.num_features
            if part.plan.decisions:
                total += Decisions.estimate(K, d, part.source.weight is not None)
            if _with_blocks(part, len(parts)):
                total += BlockMoments.estimate(K, d)
            if _with_residuals(part, len(parts)):
                total += _residual_bytes(part)
            if part.plan.wide:
                total += SpanScatter.estimate(K, d)
        return total

    # ---- reading ------------------------------------------------------------------------------
    def read(self, collector: Collector, split: Split, asked: Asked, layer: str) -> Found:
        source = collector.source
        held = split.statistics()
        moments, decisions, blocks = held[MOMENTS], held.get(DECISIONS), held.get(BLOCKS)
        residuals = held.get(RESIDUALS)
        assert isinstance(moments, ClassMoments)
        assert decisions is None or isinstance(decisions, Decisions)
        assert blocks is None or isinstance(blocks, BlockMoments)
        assert residuals is None or isinstance(residuals, Residuals)
        statistics = moments.statistics()
        span = held.get(SPAN)
        if isinstance(span, SpanScatter):
            statistics = replace(statistics, span=span.result())
        geometry = _geometry(moments, statistics, source.weight, source.bias, asked)
        if geometry is not None:
            _check_size(statistics, geometry, source.dtype, source.description)
            geometry = _reading(geometry, source)
        epsilon = torch.finfo(source.dtype).eps
        stored = None if geometry is None else stored_means(source, geometry)
        rays = _rays(held.get(DIRECTIONS))
        evidence = Evidence(
            statistics, geometry, decisions, blocks, epsilon, residuals, stored, rays
        )
        readings, unread = asked.compared(evidence)
        names = source.class_names
        notes = _notes(moments, statistics, names)
        leading = collector.splits[0]
        if split is not leading:
            notes += _unseen(leading, moments, names)
        if rays is not None and bool(rays.zeros.any()):
            notes.append(
                f"{int(rays.zeros.sum())} samples have length zero and no direction; dir_spread is "
                "of the others"
            )
        spectrum: dict[str, Any] = {}
        if geometry is not None and geometry.pairs.exact:
            spectrum, short = _spectrum(geometry)
            notes += short + unread
        elif geometry is not None:
            notes.append(_sampled(statistics.num_classes, asked.pair_budget))
        return Found(
            readings,
            statistics.num_samples,
            geometry,
            tuple(class_rows(evidence, split=split.name, layer=layer, names=names)),
            tuple(f"{split.name}: {said}" for said in notes),
            spectrum,
        )


TASK = Classification()


def stored_means(source: FeatureSource, geometry: Geometry) -> Tensor | None:
    """Class means in the columns in which the features are stored; None where they are in those."""
    return source.stored(geometry.raw_rows.matrix) if isinstance(source, SpannedSource) else None


def undecided(part: Part) -> Part:
    """A part without decisions of a head, which tasks of other labels do not have."""
    return replace(part, plan=replace(part.plan, decisions=False))


def _apart(moments: ClassMoments) -> bool:
    """Whether there are class means that span something."""
    present = moments.means[moments.counts > 0]
    return len(present) > 1 and bool((present != present[:1]).any())


def _rays(held: object) -> Rays | None:
    return held.result() if isinstance(held, Directions) else None


def _with_blocks(part: Part, splits: int) -> bool:
    size = BlockMoments.estimate(part.plan.num_classes, part.source.num_features)
    return part.plan.intervals and size * splits <= part.plan.memory_budget / 2


def _with_residuals(part: Part, splits: int) -> bool:
    """For intervals of what solves with a scatter, for nulls, and for ranks of single classes."""
    plan = part.plan
    wanted = (plan.intervals and plan.mode == "full") or plan.null or plan.kept
    return wanted and _residual_bytes(part) * splits <= plan.memory_budget / 2


def _residual_bytes(part: Part) -> int:
    size = working_dtype(part.source.dtype).itemsize
    return Residuals.estimate(part.counts, part.source.num_features, size)


def _geometry(
    moments: ClassMoments,
    statistics: ClassStatistics,
    weight: Tensor | None,
    bias: Tensor | None,
    asked: Asked,
) -> Geometry | None:
    """Means of the classes present with the head beside them; past the pair budget, formed in
    place and with means over drawn pairs. None for fewer than two classes."""
    if pairs_of(statistics.num_classes) > asked.pair_budget:
        number = int(min(SAMPLED, max(asked.pair_budget, 1)))
        whole = moments.take_geometry(weight, bias if weight is not None else None)
        return whole.sampled(number, seed=asked.comparators.seed, progress=asked.progress)
    if statistics.num_classes < 2:
        return None
    return moments.geometry(weight, bias)


def _reading(geometry: Geometry, source: FeatureSource) -> Geometry:
    """With what the next weight reads most; behind the last layer that is the head."""
    reads = source.reads
    known = geometry.weight is not None and geometry.num_classes <= geometry.num_features
    if reads is None and known and geometry.pairs.exact:
        assert geometry.weight is not None
        reads = strongest(geometry.weight, geometry.num_classes - 1)
    return geometry if reads is None else replace(geometry, reads=reads)


# ---- what is said beside the numbers ----------------------------------------------------------
def _notes(
    moments: ClassMoments, statistics: ClassStatistics, names: tuple[str, ...] | None
) -> list[str]:
    """Classes that are absent, alone or few."""

    def some(indices: Tensor) -> str:
        listed = ", ".join(name_of(names, int(i)) for i in indices[:NAMED])
        more = indices.numel() - NAMED
        return listed + (f" and {more} more" if more > 0 else "")

    found = []
    counts = moments.counts
    absent = (counts == 0).nonzero().flatten()
    if absent.numel():
        found.append(
            f"{absent.numel()} of {counts.numel()} classes have no sample and are left out: "
            f"{some(absent)}"
        )
    single = (counts == 1).nonzero().flatten()
    if single.numel():
        found.append(
            f"{single.numel()} classes have one sample, whose spread counts as 0 in all averages: "
            f"{some(single)}"
        )
    typical = float(statistics.counts.to(torch.float64).median())
    if 1 < typical < 10:
        found.append(
            f"{typical:.0f} samples a class (median); within-class variance reads low by about a "
            f"factor {1 - 1 / typical:.2f}"
        )
    if statistics.num_classes < 2:
        found.append("one class only, so NC1 to NC3 are not measured on this split")
    return found


def _unseen(leading: Split, moments: ClassMoments, names: tuple[str, ...] | None) -> list[str]:
    """Classes that the reference split, whose means decide, does not have."""
    known = leading.part.counts > 0
    found = ((moments.counts > 0) & ~known.to(moments.counts.device)).nonzero().flatten().tolist()
    if not found:
        return []
    listed = ", ".join(name_of(names, k) for k in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return [
        f"{len(found)} classes have no sample in {leading.name}, whose means decide, so no sample "
        f"of theirs can be nearest to its own class: {listed}{more}"
    ]


def _check_size(
    statistics: ClassStatistics, geometry: Geometry, dtype: torch.dtype, description: str
) -> None:
    """Raises ValueError where squares of what varies leave the dtype that they are summed in, or
    fourth powers (norms of Gram matrices) float64: readings would be of zeros and infinities."""
    work = working_dtype(dtype)
    apart = float(geometry.centred_means.abs().max())
    varies = max(apart, float(statistics.traces.max()) ** 0.5)
    squares = (torch.finfo(work).tiny / torch.finfo(work).eps) ** 0.5
    name = str(work).removeprefix("torch.")
    if 0 < apart < squares and varies < squares:
        raise ValueError(
            f"{description}: features vary by {apart:.1g}, whose squares {name} cannot hold; "
            "multiply them by a constant first"
        )
    assert geometry.means is not None
    sizes = {"features vary by": varies, "class means are as long as": _largest(geometry.means)}
    if geometry.weight is not None:
        sizes["the weight has entries of"] = _largest(geometry.weight)
    for what, size in sizes.items():
        if size > 1 / FOURTH_ROOT or 0 < size < FOURTH_ROOT:
            raise ValueError(
                f"{description}: {what} {size:.1g}, whose fourth powers float64 cannot hold; "
                "multiply by a constant first"
            )


def _largest(rows: Tensor) -> float:
    return float(rows.abs().max())


def _spectrum(geometry: Geometry) -> tuple[dict[str, Any], list[str]]:
    """The spectrum of the class means for the config, and a sentence where it falls short."""
    full = min(geometry.num_features, geometry.num_classes - 1)
    apart = bool((geometry.centred_means != 0).any())
    largest, least, rank = 0.0, 0.0, 0
    if apart:
        rank = geometry.between.rank
        largest, least = geometry.between.extremes()
    spectrum = {
        "rank": rank,
        "rank_by_construction": full,
        "condition": least / largest if apart else 0.0,
        "cutoff": largest * EPSILON * max(geometry.num_classes, geometry.num_features),
    }
    if rank >= full:
        return spectrum, []
    return spectrum, [
        f"the class means span {rank} of {full} possible directions; the rest lie below the "
        "cutoff and are left out of the pseudo-inverse"
    ]


def _sampled(num_classes: int, budget: float) -> str:
    number = int(min(SAMPLED, max(budget, 1)))
    return (
        f"{pairs_of(num_classes):.3g} pairs of classes are more than the pair budget of "
        f"{budget:.3g}, so {number} are sampled (their intervals say how well), only traces of the "
        "spread are kept, and the rows of single classes and the nulls of NC2 and NC3 are left "
        "out; raise pair_budget for all pairs"
    )
