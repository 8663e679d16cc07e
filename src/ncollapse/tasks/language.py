"""Language models: a sample is a position of a text, its class the token that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ncollapse.collect.collector import Collector, Part, Split, Statistics
from ncollapse.collect.plan import Labelled
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.predictions import Predictions
from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.collect.statistics.spread import FeatureSpread
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.metrics.catalog import USUAL, followed, of_task
from ncollapse.metrics.classes import class_rows, name_of
from ncollapse.metrics.evidence import Evidence
from ncollapse.metrics.frequency import frequency_curve
from ncollapse.metrics.information import Information
from ncollapse.metrics.linguistic import kept
from ncollapse.metrics.nc4 import accuracy
from ncollapse.metrics.preconditions import preconditions
from ncollapse.metrics.shares import VarianceShares, variance_shares
from ncollapse.metrics.successors import SuccessorShares
from ncollapse.metrics.token_kinds import KINDS, kinds_of
from ncollapse.pairs.means import SAMPLED, pairs_of
from ncollapse.record.readings import Reading
from ncollapse.sources.features.arrays import FeatureSource
from ncollapse.tasks.classification import (
    DECISIONS,
    MOMENTS,
    RESIDUALS,
    Classification,
    stored_means,
)
from ncollapse.tasks.task import Asked, Found

SPREAD, PREDICTIONS = "spread", "predictions"
# Tokens seen more rarely are left out of what is read of class means, unless min_count says less.
FREQUENT = 10
# So many classes have a row each.
LISTED = 4096
NAMED = 10
# Multiplications up to which training text is decided on too: half a minute of one core.
DECIDED = 1e12
TITLES = {
    "zipf_exponent": "classes of about equal frequency",
    "count_ratio": "no class much larger than another",
    "classes_per_dimension": "no more classes than features",
    "context_share": "contexts of a token look alike",
    "several_successors": "a context has one successor",
    "train_error": "no training error is left",
    "epochs": "trained long past that",
}


@dataclass(frozen=True)
class Language(Classification):
    """See `ncollapse.tasks.task.Task`. Means and traces of classes, the spread of every feature and
    what the head predicts are collected in the pass; decisions on held-out text, and on training
    text where that costs little."""

    name: str = "language"
    sees: str = "labels"
    counted: str = "tokens"

    def recognised(self, source: Labelled) -> str | None:
        if source.targets is not None or getattr(source, "tokens", None) != "next":
            return None
        return "a sample is a position of a text, its class the next token"

    # ---- collecting ---------------------------------------------------------------------------
    def first(self, part: Part) -> Statistics:
        source, plan = part.source, replace(part.plan, mode="trace", directions=False)
        found = super().first(replace(part, plan=plan))
        found[SPREAD] = FeatureSpread(source.num_features, plan.ignore_index)
        if source.weight is not None and plan.predictions:
            kinds = _kinds(source)
            bias = None if source.bias is None else source.bias.to(torch.float64)
            found[PREDICTIONS] = Predictions(source.weight, bias, kinds, plan.ignore_index)
        return found

    def second(self, part: Part, found: Mapping[str, Statistics]) -> Statistics:
        held_out = len(found) == 1 or part.name != next(iter(found))
        return super().second(_read_once(part, held_out), found)

    def estimate(self, parts: list[Part]) -> int:
        held_out = [len(parts) == 1 or number > 0 for number in range(len(parts))]
        return super().estimate(
            [_read_once(part, asked) for part, asked in zip(parts, held_out, strict=True)]
        )

    # ---- reading ------------------------------------------------------------------------------
    def read(self, collector: Collector, split: Split, asked: Asked, layer: str) -> Found:
        source, held = collector.source, split.statistics()
        moments, decisions, residuals = held[MOMENTS], held.get(DECISIONS), held.get(RESIDUALS)
        assert isinstance(moments, ClassMoments)
        assert decisions is None or isinstance(decisions, Decisions)
        assert residuals is None or isinstance(residuals, Residuals)
        whole = moments.statistics()
        if whole.num_classes < 2:
            said = f"{split.name}: one token only, so nothing is read of this split"
            return Found({}, whole.num_samples, notes=(said,))
        shares, information, notes = _shares(held, whole, moments, source)
        every = moments.geometry(source.weight, source.bias)
        statistics, geometry, rare = _frequent(whole, every, collector.plan.min_count)
        notes += [] if rare is None else [rare]
        if rare is not None and residuals is not None and statistics.present is not None:
            residuals = residuals.select(statistics.present)
        if pairs_of(geometry.num_classes) > asked.pair_budget:
            number = int(min(SAMPLED, max(asked.pair_budget, 1)))
            geometry = geometry.sampled(
                number, seed=asked.comparators.seed, progress=asked.progress
            )
        stored = stored_means(source, geometry)
        evidence = Evidence(
            statistics,
            geometry,
            decisions,
            None,
            torch.finfo(source.dtype).eps,
            residuals,
            stored,
            shares=shares,
            information=information,
            task=self.name,
        )
        readings, unread = asked.compared(evidence)
        readings = {**_as_classes(evidence, asked), **readings}
        names = source.class_names
        rows = []
        if geometry.num_classes <= LISTED:
            rows = class_rows(evidence, split=split.name, layer=layer, names=names)
        details: dict[str, Any] = {"frequency": frequency_curve(whole, every, decisions)}
        if split is collector.splits[0]:
            details["preconditions"] = _conditions(moments, shares, decisions, source)
        if shares is not None:
            details["shares"] = _listed(shares, information, _kinds(source) is not None)
        notes += [*_notes(moments.counts, names), *unread]
        return Found(
            readings,
            whole.num_samples,
            geometry,
            tuple(rows),
            tuple(f"{split.name}: {said}" for said in notes),
            {},
            details,
        )


TASK = Language()


def _as_classes(evidence: Evidence, asked: Asked) -> dict[str, Reading]:
    """What is read of any classes along training, of tokens too: without comparators, which the
    rows of the task have."""
    usual = [key for key in asked.keys or followed() if key in of_task()]
    if not usual:
        return {}
    bare = replace(asked.comparators, null=False, interval=False)
    plain = replace(asked, keys=frozenset(usual), comparators=bare, progress=None)
    found, _ = plain.compared(replace(evidence, task=USUAL))
    return found


def _read_once(part: Part, held_out: bool) -> Part:
    """Without blocks for intervals, which next tokens have none of, and with decisions where the
    text is held out, or the only one, or short."""
    cost = float(part.counts.sum()) * part.plan.num_classes * part.source.num_features
    decided = part.plan.decisions and (held_out or cost <= DECIDED)
    plan = replace(part.plan, intervals=False, wide=False, decisions=decided)
    return replace(part, plan=plan)


def _kinds(source: FeatureSource) -> Tensor | None:
    """The kind of each token as its category, where names tell."""
    return None if source.class_names is None else kinds_of(source.class_names)


def _shares(
    held: Statistics, statistics: ClassStatistics, moments: ClassMoments, source: FeatureSource
) -> tuple[VarianceShares | None, Information | None, list[str]]:
    spread, predictions = held[SPREAD], held.get(PREDICTIONS)
    assert isinstance(spread, FeatureSpread)
    try:
        shares = variance_shares(statistics, moments.geometry(), _kinds(source), spread.result())
    except ValueError as error:
        return None, None, [f"no variance shares: {error}"]
    information = None
    if isinstance(predictions, Predictions):
        information = Information.of(predictions.result())
    return shares, information, []


def _frequent(
    statistics: ClassStatistics, geometry: Geometry, least: int
) -> tuple[ClassStatistics, Geometry, str | None]:
    """Without rare tokens, where two frequent ones stay."""
    for count in (FREQUENT, 2) if least <= 1 else (least,):
        if int((statistics.counts >= count).sum()) >= 2:
            return kept(statistics, geometry, count)
    return statistics, geometry, None


# ---- what is said beside the numbers ------------------------------------------------------------
def _notes(counts: Tensor, names: tuple[str, ...] | None) -> list[str]:
    absent = int((counts == 0).sum())
    if not absent:
        return []
    first = (counts == 0).nonzero().flatten()[:NAMED].tolist()
    listed = ", ".join(name_of(names, k) for k in first)
    return [
        f"{absent} of {counts.numel()} tokens of the vocabulary do not occur and are left out: "
        f"{listed}{', …' if absent > NAMED else ''}"
    ]


def _listed(shares: VarianceShares, information: Information | None, named: bool) -> dict[str, Any]:
    """For the page: shares as they are and corrected, and the floor below them."""
    found: dict[str, Any] = {
        "plug_in": shares.plug_in.tolist(),
        "corrected": _finite(shares.corrected),
        "positions": shares.positions,
        "tokens": shares.tokens,
        "noise": shares.noise_share,
        "largest": shares.largest,
        "categories": list(KINDS) if named else [],
    }
    if shares.standardised is not None:
        found["standardised"] = _finite(shares.standardised)
    if information is not None:
        total = float(shares.squares.sum()) / shares.positions
        found |= {"nats": information.nats, "floor": information.floor / total}
    return found


def _finite(values: Tensor) -> list[float] | None:
    return values.tolist() if bool(values.isfinite().all()) else None


def _conditions(
    moments: ClassMoments,
    shares: VarianceShares | None,
    decisions: Decisions | None,
    source: FeatureSource,
) -> list[dict[str, Any]]:
    """What theory assumes, for the page: a title, what was found, and whether it holds."""
    found = preconditions(
        moments.counts,
        source.num_features,
        context_share=None if shares is None else float(shares.corrected[2]),
        successors=source.successors if isinstance(source.successors, SuccessorShares) else None,
        train_error=None
        if decisions is None or not decisions.has_head
        else 1 - float(accuracy(decisions)),
    )
    return [
        {
            "name": one.name,
            "title": TITLES.get(one.name, one.name),
            "value": one.value,
            "found": one.sentence,
            "holds": one.holds,
        }
        for one in found
    ]
