"""Accumulators of one run → readings with comparators, class rows, warnings, verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncollapse.answers.questions import judge
from ncollapse.collect.collector import Split
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.measuring.measurement import Measurement
from ncollapse.metrics import intervals as interval_rules
from ncollapse.metrics import null as null_rules
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.large import (
    PAIR_BUDGET,
    SAMPLED,
    LargeReader,
    Progress,
    large_floors,
    large_nulls,
    pairs_of,
    take_geometry,
)
from ncollapse.metrics.metric import Metric
from ncollapse.metrics.readings import applicable, read
from ncollapse.record.document import Document
from ncollapse.record.readings import ClassRow, Null, Reading
from ncollapse.record.trace import Trace
from ncollapse.sources.features.arrays import FeatureSource

NAMED = 10


@dataclass
class Assembly:
    """Splits become readings, class rows and warnings: `enter` a layer, `add` its splits."""

    definition: str
    null: bool
    intervals: bool
    seed: int
    keys: frozenset[str] | None = None
    pair_budget: float = PAIR_BUDGET
    progress: Progress | None = None

    def __post_init__(self) -> None:
        self.results: dict[str, dict[str, dict[str, Reading]]] = {}
        self.classes: list[ClassRow] = []
        self.warnings: list[str] = []
        self.geometries: dict[str, Geometry] = {}
        self.spectra: dict[str, dict[str, Any]] = {}
        self.num_samples = 0

    def enter(
        self, source: FeatureSource, layer: str, *, primary: bool, pooling: str = "none"
    ) -> None:
        """Begin a layer. Verdicts, the saved geometry and warnings are of the primary one."""
        self.source, self.layer, self.primary = source, layer, primary
        self.pooling = "" if pooling == "none" else f", {pooling}"

    def add(self, split: Split) -> None:
        statistics = split.moments.statistics()
        if self.primary:
            self.num_samples += statistics.num_samples
            self._note_classes(split, statistics)
        head = self.source.weight is not None
        values: dict[str, float | None] = {}
        nulls: dict[str, Null] = {}
        floors: dict[str, float] = {}
        found: dict[str, tuple[float, float]] = {}
        geometry: Geometry | None = None
        if pairs_of(statistics.num_classes) > self.pair_budget:
            values, found, nulls, floors = self._large(split, statistics, head)
        elif statistics.num_classes >= 2:
            geometry = split.moments.geometry(self.source.weight, self.source.bias)
            keys = self._wanted(applicable(head=head))
            values, notes = self._read(keys, statistics, geometry)
            if self.primary:
                self.geometries[split.name] = geometry
                self._note_spectrum(split.name, geometry)
                self.warnings += [f"{split.name}: {note}" for note in notes]
            if self.null or self.keys is None:
                epsilon = torch.finfo(self.source.dtype).eps
                floors = null_rules.floors(
                    statistics, geometry, epsilon, definition=self.definition
                )
            if self.null:
                nulls = self._nulls(statistics, geometry, head)
            if self.intervals:
                found = self._intervals(split, keys, values, statistics, geometry)
        if split.decisions is not None:
            keys = self._wanted(applicable(head=head, decisions=True))
            keys = tuple(key for key in keys if "decisions" in METRICS[key].needs)
            shares, _ = read(keys, decisions=split.decisions)
            values |= shares
            found |= interval_rules.of_decisions(shares, split.decisions) if self.intervals else {}
            nulls |= null_rules.guesses(split.decisions) if self.null else {}
        self.classes += self._rows(split, statistics, geometry)
        self.results.setdefault(split.name, {})[self.layer] = {
            key: Reading(
                value=values[key],
                null=nulls.get(key),
                floor=floors.get(key),
                interval=found.get(key),
                ideal=row.ideal,
                n=_number(row, statistics, split),
                definition=row.resolve(self.definition)[0] + self.pooling,
            )
            for key, row in METRICS.items()
            if key in values
        }

    def _large(
        self, split: Split, statistics: ClassStatistics, head: bool
    ) -> tuple[
        dict[str, float | None],
        dict[str, tuple[float, float]],
        dict[str, Null],
        dict[str, float],
    ]:
        """Values, intervals, nulls and floors past the budget of pairs."""
        weight, bias = (self.source.weight, self.source.bias) if head else (None, None)
        geometry = take_geometry(split.moments, weight, bias)
        number = int(min(SAMPLED, max(self.pair_budget, 1)))
        reader = LargeReader(statistics, geometry, number, self.seed, self.progress)
        values = reader.read(self._wanted(applicable(head=head)), self.definition)
        nulls = {}
        if self.null:
            nulls = large_nulls(statistics, geometry, definition=self.definition, seed=self.seed)
        if self.primary:
            self.geometries[split.name] = geometry
            self.warnings.append(
                f"{split.name}: {pairs_of(statistics.num_classes):.3g} pairs of classes are more "
                f"than the pair budget of {self.pair_budget:.3g}, so {number} are sampled (their "
                "intervals say how well), only traces of the spread are kept, and the rows of "
                "single classes and the nulls of NC2 and NC3 are left out; raise pair_budget for "
                "all pairs"
            )
        intervals = reader.intervals if self.intervals else {}
        return values, intervals, nulls, large_floors(geometry)

    def _wanted(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        return keys if self.keys is None else tuple(key for key in keys if key in self.keys)

    def _read(
        self, keys: tuple[str, ...], statistics: ClassStatistics, geometry: Geometry
    ) -> tuple[dict[str, float | None], list[str]]:
        return read(
            keys,
            statistics=statistics,
            geometry=geometry,
            definition=self.definition,
        )

    def _nulls(
        self, statistics: ClassStatistics, geometry: Geometry, head: bool
    ) -> dict[str, Null]:
        shuffled = null_rules.shuffled_labels(
            statistics, geometry, definition=self.definition, seed=self.seed
        )
        directions = null_rules.random_directions(
            geometry.num_classes,
            geometry.num_features,
            head=head,
            definition=self.definition,
            seed=self.seed,
        )
        return {**shuffled, **directions}

    def _intervals(
        self,
        split: Split,
        keys: tuple[str, ...],
        values: dict[str, float | None],
        statistics: ClassStatistics,
        geometry: Geometry,
    ) -> dict[str, tuple[float, float]]:
        if split.blocks is None:
            return interval_rules.half_samples(
                keys, values, statistics, geometry, definition=self.definition, seed=self.seed
            )
        replicates = []
        for block in range(len(split.blocks.parts)):
            part, means = split.blocks.without(block)
            whole = Geometry(means.means, geometry.weight, geometry.bias, means.counts)
            replicates.append(self._read(keys, part, whole)[0])
        return interval_rules.jackknife(values, replicates)

    # ---- what is said beside the numbers ------------------------------------------------------
    def _name(self, index: int) -> str:
        names = self.source.class_names
        return str(index) if names is None else names[index]

    def _some(self, indices: Tensor) -> str:
        listed = ", ".join(self._name(int(i)) for i in indices[:NAMED])
        return listed + (f" and {indices.numel() - NAMED} more" if indices.numel() > NAMED else "")

    def _note_classes(self, split: Split, statistics: ClassStatistics) -> None:
        counts = split.moments.counts
        absent = (counts == 0).nonzero().flatten()
        if absent.numel():
            self.warnings.append(
                f"{split.name}: {absent.numel()} of {counts.numel()} classes have no sample and "
                f"are left out: {self._some(absent)}"
            )
        single = (counts == 1).nonzero().flatten()
        if single.numel():
            self.warnings.append(
                f"{split.name}: {single.numel()} classes have one sample, whose spread counts as "
                f"0 in all averages: {self._some(single)}"
            )
        typical = float(statistics.counts.to(torch.float64).median())
        if 1 < typical < 10:
            self.warnings.append(
                f"{split.name}: {typical:.0f} samples a class (median); within-class variance "
                f"reads low by about a factor {1 - 1 / typical:.2f}"
            )
        if statistics.num_classes < 2:
            self.warnings.append(
                f"{split.name}: one class only, so NC1 to NC3 are not measured on this split"
            )

    def _note_spectrum(self, name: str, geometry: Geometry) -> None:
        full = min(geometry.num_features, geometry.num_classes - 1)
        found = geometry.between_spectrum
        self.spectra[name] = {
            "rank": found.rank,
            "rank_by_construction": full,
            "condition": found.condition,
            "cutoff": found.cutoff,
        }
        if found.rank < full:
            self.warnings.append(
                f"{name}: the class means span {found.rank} of {full} possible directions; the "
                "rest lie below the cutoff and are left out of the pseudo-inverse"
            )

    def _rows(
        self, split: Split, statistics: ClassStatistics, geometry: Geometry | None
    ) -> list[ClassRow]:
        present = statistics.present
        if geometry is None or present is None:
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
        if split.decisions is not None and split.decisions.has_head:
            share = split.decisions.correct_head / split.decisions.counts.clamp_min(1)
            hits = share[present].tolist()
        index = present.tolist()
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
                split=split.name,
                layer=self.layer,
                name=self._name(k),
                index=k,
                count=count,
                norm=norm,
                within=within,
                nearest=self._name(index[nearest]),
                distance=distance,
                cosine=cosines[i],
                accuracy=None if hits is None else hits[i],
            )
            for i, (k, count, norm, within, nearest, distance) in enumerate(columns)
        ]

    def finish(
        self, config: dict[str, Any], num_classes: int, trace: Trace | None = None
    ) -> Measurement:
        """The document of everything added; the primary layer was entered last."""
        verdicts = judge(
            self.results,
            self.classes,
            num_classes=num_classes,
            num_features=self.source.num_features,
            layer=self.layer,
            trace=trace,
        )
        document = Document.build(
            source=self.source.description,
            config=config,
            seed=self.seed,
            data_hash=self.source.fingerprint,
            num_classes=num_classes,
            num_features=self.source.num_features,
            num_samples=self.num_samples,
            results=self.results,
            verdicts=verdicts,
            warnings=tuple(self.warnings),
        )
        return Measurement(document, tuple(self.classes), self.geometries, trace)


def _number(row: Metric, statistics: ClassStatistics, split: Split) -> int:
    """Samples that a reading is of: those decided on, where not all are."""
    if "decisions" in row.needs and split.decisions is not None:
        return split.decisions.num_samples
    return statistics.num_samples
