"""measure_features, measure_source: arrays or files → Measurement, with comparators and verdicts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ncollapse.collect.passes import Collector, Plan, Progress, Split
from ncollapse.collect.statistics import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.linalg import spectrum
from ncollapse.measurement import Measurement
from ncollapse.metrics import intervals as interval_rules
from ncollapse.metrics import null as null_rules
from ncollapse.metrics.catalog import DEFINITIONS, METRICS
from ncollapse.metrics.nc1 import between_scatter_factor
from ncollapse.metrics.readings import applicable, read, within_weighting
from ncollapse.provenance import environment, git_hash
from ncollapse.schema import SCHEMA_VERSION, ClassRow, Document, Null, Reading
from ncollapse.sources.arrays import ArraySource, FeatureSource
from ncollapse.verdict import judge

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("ncollapse")
LAYER = "head"
NAMED = 10


def measure_features(
    features: Tensor | np.ndarray[Any, Any],
    labels: Tensor | np.ndarray[Any, Any],
    *,
    weight: Tensor | np.ndarray[Any, Any] | None = None,
    bias: Tensor | np.ndarray[Any, Any] | None = None,
    split: Any = None,
    class_names: Any = None,
    **options: Any,
) -> Measurement:
    """Neural collapse of features (samples, dim) with integer labels (samples).

    `weight` (classes, dim) and `bias` (classes) are the classifier; `split` names the split of
    each sample. Every other keyword is one of `measure_source`. Nothing is copied or changed.

    >>> m = measure_features(features, labels, weight=W, bias=b)   # doctest: +SKIP
    >>> print(m)                                                   # doctest: +SKIP
    """
    source = ArraySource(
        features, labels, weight=weight, bias=bias, split=split, class_names=class_names
    )
    return measure_source(source, **options)


def measure_source(
    source: FeatureSource,
    *,
    num_classes: int | None = None,
    ignore_index: int | None = -100,
    weighting: str = "macro",
    definition: str | None = None,
    mode: str = "full",
    null: bool = True,
    intervals: bool = True,
    decisions: bool = True,
    seed: int = 0,
    memory_budget: float = 2e9,
    snapshot: Path | str | None = None,
    snapshot_every: float = 30.0,
    resume: bool = False,
    progress: Progress | None = None,
) -> Measurement:
    """Neural collapse of a source of features, streamed in flat memory.

    K is the number of rows of the source's weight, else `num_classes`, else max(label) + 1.
    `weighting` macro weighs every class alike, micro by its samples; `definition` asks for a
    published variant (see `ncollapse explain`). `mode` full, trace or sketch bounds the state.
    `null` and `intervals` add comparators; `decisions` the second look for NC4. `snapshot` is a
    file kept while running; `resume` continues from it. `progress(stage, done, total)`.

    Raises ValueError for labels outside 0..K-1 other than `ignore_index`, fewer than two classes,
    shapes that disagree, NaN or infinite features, an unknown definition or mode.
    """
    asked = definition or weighting
    plan = _plan(
        source,
        asked,
        num_classes=num_classes,
        mode=mode,
        memory_budget=memory_budget,
        ignore_index=ignore_index,
        decisions=decisions,
        intervals=intervals,
        seed=seed,
        snapshot=None if snapshot is None else Path(snapshot),
        snapshot_every=snapshot_every,
        resume=resume,
        progress=progress,
    )
    collector = Collector(source, plan)
    log.info("state estimate: %.0f MB", collector.state_bytes / 1e6)
    splits = collector.run()
    assembly = _Assembly(source, asked, null, intervals, seed, progress)
    for number, split in enumerate(splits):
        if progress is not None:
            progress("metrics", number, len(splits))
        assembly.add(split)
    if progress is not None:
        progress("metrics", len(splits), len(splits))
    config = {
        "definition": asked,
        "weighting": plan.weighting,
        "mode": mode,
        "scatter": splits[0].moments.scatter_form,
        "ignore_index": ignore_index,
        "null": null,
        "intervals": intervals,
        "decisions": decisions,
        "seed": seed,
        "memory_budget": memory_budget,
        "chunk_rows": plan.chunk_rows,
        "state_bytes": collector.state_bytes,
        "features_dtype": str(source.dtype).removeprefix("torch."),
        "between_scatter": assembly.spectra,
        "splits": {split.name: int(split.moments.num_samples) for split in splits},
    }
    return assembly.finish(config, plan.num_classes)


def state_estimate(
    source: FeatureSource,
    *,
    weighting: str = "macro",
    definition: str | None = None,
    **options: Any,
) -> int:
    """Bytes that measuring `source` will keep beside the features, before a row is read.

    Options are those of `measure_source`.
    """
    return Collector(source, _plan(source, definition or weighting, **options)).state_bytes


def _plan(source: FeatureSource, asked: str, *, num_classes: int | None, **options: Any) -> Plan:
    if asked not in DEFINITIONS:
        raise ValueError(
            f"definition {asked!r} is unknown; one of {', '.join(DEFINITIONS)} is needed"
        )
    count = _class_count(source, num_classes, options.get("ignore_index", -100))
    return Plan(num_classes=count, weighting=within_weighting(asked), **options)


def _class_count(source: FeatureSource, num_classes: int | None, ignore_index: int | None) -> int:
    labels = source.labels
    kept = labels if ignore_index is None else labels[labels != ignore_index]
    if kept.numel() == 0:
        raise ValueError(
            f"{source.description}: all {labels.numel()} labels equal ignore_index {ignore_index}; "
            "at least two classes are needed"
        )
    if source.weight is not None:
        count = int(source.weight.shape[0])
        if num_classes is not None and num_classes != count:
            raise ValueError(
                f"num_classes={num_classes} but the weight has {count} rows; one row a class is "
                "needed"
            )
        origin = f"the weight has {count} rows"
    elif num_classes is not None:
        count, origin = num_classes, f"num_classes={num_classes}"
    else:
        count, origin = int(kept.max()) + 1, "no weight or num_classes given"
    if count < 2:
        raise ValueError(
            f"{source.description}: K = {count} class ({origin}); neural collapse compares at "
            "least two classes"
        )
    wrong = (labels < 0) | (labels >= count)
    if ignore_index is not None:
        wrong &= labels != ignore_index
    places = wrong.nonzero()
    if places.numel():
        row = int(places[0])
        raise ValueError(
            f"{source.description}: label {int(labels[row])} of sample {row} lies outside "
            f"0..{count - 1} ({origin}); pass num_classes, or ignore_index to skip a label"
        )
    reference = kept
    if source.split_codes is not None:
        mine = source.split_codes == source.splits.index(_reference(source))
        reference = labels[mine] if ignore_index is None else labels[mine & (labels != ignore_index)]
    present = reference.unique()
    if present.numel() < 2:
        raise ValueError(
            f"{source.description}: only class {present.tolist()} is present among "
            f"{reference.numel()} samples of split {_reference(source)!r}; at least two classes "
            "are needed"
        )
    return count


def _reference(source: FeatureSource) -> str:
    return "train" if "train" in source.splits else source.splits[0]


@dataclass
class _Assembly:
    """Splits become readings, class rows and warnings, one after the other."""

    source: FeatureSource
    definition: str
    null: bool
    intervals: bool
    seed: int
    progress: Progress | None

    def __post_init__(self) -> None:
        self.results: dict[str, dict[str, dict[str, Reading]]] = {}
        self.classes: list[ClassRow] = []
        self.warnings: list[str] = []
        self.geometries: dict[str, Geometry] = {}
        self.spectra: dict[str, dict[str, Any]] = {}
        self.num_samples = 0

    def add(self, split: Split) -> None:
        statistics = split.moments.statistics()
        self.num_samples += statistics.num_samples
        self._note_classes(split, statistics)
        head = self.source.weight is not None
        values: dict[str, float | None] = {}
        nulls: dict[str, Null] = {}
        floors: dict[str, float] = {}
        found: dict[str, tuple[float, float]] = {}
        geometry: Geometry | None = None
        if statistics.num_classes >= 2:
            geometry = split.moments.geometry(self.source.weight, self.source.bias)
            self.geometries[split.name] = geometry
            self._note_spectrum(split.name, statistics, geometry)
            keys = applicable(head=head)
            values, notes = self._read(keys, statistics, geometry)
            self.warnings += [f"{split.name}: {note}" for note in notes]
            epsilon = torch.finfo(self.source.dtype).eps
            floors = null_rules.floors(statistics, geometry, epsilon, definition=self.definition)
            if self.null:
                nulls = self._nulls(statistics, geometry, head)
            if self.intervals:
                found = self._intervals(split, keys, values, statistics, geometry)
        if split.decisions is not None:
            keys = applicable(head=head, decisions=True)
            keys = tuple(key for key in keys if "decisions" in METRICS[key].needs)
            shares, _ = read(keys, decisions=split.decisions)
            values |= shares
            found |= interval_rules.of_decisions(shares, split.decisions) if self.intervals else {}
            nulls |= null_rules.guesses(split.decisions) if self.null else {}
        self.classes += self._rows(split, statistics, geometry)
        self.results[split.name] = {
            LAYER: {
                key: Reading(
                    value=values[key],
                    null=nulls.get(key),
                    floor=floors.get(key),
                    interval=found.get(key),
                    ideal=row.ideal,
                    n=statistics.num_samples,
                    definition=row.resolve(self.definition)[0],
                )
                for key, row in METRICS.items()
                if key in values
            }
        }

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

    def _note_spectrum(self, name: str, statistics: ClassStatistics, geometry: Geometry) -> None:
        full = min(geometry.num_features, geometry.num_classes - 1)
        found = spectrum(between_scatter_factor(statistics, geometry), full)
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
        cosines: list[float] | None = None
        if geometry.weight is not None:
            dots = (geometry.weight * geometry.centred_means).sum(1)
            cosines = (dots / (geometry.weight_norms * norms)).tolist()
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
                layer=LAYER,
                name=self._name(k),
                index=k,
                count=count,
                norm=norm,
                within=within,
                nearest=self._name(index[nearest]),
                distance=distance,
                cosine=None if cosines is None else cosines[i],
                accuracy=None if hits is None else hits[i],
            )
            for i, (k, count, norm, within, nearest, distance) in enumerate(columns)
        ]

    def finish(self, config: dict[str, Any], num_classes: int) -> Measurement:
        from ncollapse import __version__

        verdicts = judge(
            self.results,
            self.classes,
            num_classes=num_classes,
            num_features=self.source.num_features,
        )
        document = Document(
            schema_version=SCHEMA_VERSION,
            ncollapse_version=__version__,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            source=self.source.description,
            config=config,
            environment=environment(self.seed, self.source.fingerprint),
            git_hash=git_hash(),
            num_classes=num_classes,
            num_features=self.source.num_features,
            num_samples=self.num_samples,
            results=self.results,
            verdicts=verdicts,
            warnings=tuple(self.warnings),
        )
        return Measurement(document, tuple(self.classes), self.geometries)
