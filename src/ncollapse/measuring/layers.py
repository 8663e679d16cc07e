"""Sources of features, one a layer → one Measurement."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ncollapse.collect.collector import Collector
from ncollapse.collect.plan import Plan, Progress, class_count
from ncollapse.collect.ranks.parts import PartSource
from ncollapse.collect.ranks.ranks import Ranks, WholeLabels, common_fingerprint
from ncollapse.collect.tap.tokens import drop_rare
from ncollapse.measuring.assemble import Assembly
from ncollapse.measuring.measurement import Measurement
from ncollapse.metrics.catalog import DEFINITIONS, METRICS
from ncollapse.metrics.large import PAIR_BUDGET, pairs_of
from ncollapse.metrics.readings import within_weighting
from ncollapse.record.trace import Trace
from ncollapse.sources.features.arrays import FeatureSource

# A matrix of features × features up to this many bytes is kept whatever the budget.
SMALL_MATRIX = 2.0**26
LARGE_STATE = 2e8
log = logging.getLogger("ncollapse")


@dataclass(frozen=True)
class Options:
    """How to measure: see `measure_source` for what each means."""

    num_classes: int | None = None
    ignore_index: int | None = -100
    weighting: str = "macro"
    definition: str | None = None
    mode: str = "full"
    null: bool = True
    intervals: bool = True
    decisions: bool = True
    seed: int = 0
    memory_budget: float = 2e9
    snapshot: Path | str | None = None
    snapshot_every: float = 30.0
    resume: bool = False
    progress: Progress | None = None
    keys: tuple[str, ...] | None = None
    min_count: int = 1
    pair_budget: float = PAIR_BUDGET

    @property
    def asked(self) -> str:
        return self.definition or self.weighting

    def plan(self, source: FeatureSource | WholeLabels) -> Plan:
        """The plan for one source. Raises ValueError for an unknown definition and bad labels."""
        if self.asked not in DEFINITIONS:
            raise ValueError(
                f"definition {self.asked!r} is unknown; one of {', '.join(DEFINITIONS)} is needed"
            )
        return Plan(
            num_classes=class_count(source, self.num_classes, self.ignore_index),
            weighting=within_weighting(self.asked),
            mode=self.mode,
            memory_budget=self.memory_budget,
            ignore_index=self.ignore_index,
            decisions=self.decisions,
            intervals=self.intervals,
            seed=self.seed,
            snapshot=None if self.snapshot is None else Path(self.snapshot),
            snapshot_every=self.snapshot_every,
            resume=self.resume,
            progress=self.progress,
        )


def measure_layers(
    sources: Mapping[str, FeatureSource],
    options: Options,
    *,
    pooling: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    trace: Trace | None = None,
    warnings: tuple[str, ...] = (),
    ranks: Ranks | None = None,
    exact: bool = False,
) -> Measurement:
    """One source a layer, the last one first in importance: verdicts are about it.

    pooling: how each layer's output became a vector; extra: more entries of the config; exact:
    sums in float64 whatever the features. With `ranks` the sources are the parts of each process,
    and every process returns the measurement of all.
    """
    sources, notes = frequent(sources, options, ranks)
    primary = list(sources)[-1]
    K = _plan(options, sources[primary], ranks).num_classes
    assembly = Assembly(
        options.asked,
        options.null,
        options.intervals,
        options.seed,
        chosen_keys(options.keys),
        options.pair_budget,
        options.progress,
    )
    assembly.warnings += [*notes, *warnings]
    layers: dict[str, dict[str, Any]] = {}
    config: dict[str, Any] = {}
    for number, (layer, source) in enumerate(sources.items()):
        plan = _plan(options, source, ranks)
        plan.num_classes, plan.exact = K, exact
        lean(plan, source, layer, options, assembly.warnings)
        collector = Collector(source, plan, ranks)
        large = exact and collector.state_bytes > LARGE_STATE
        log.log(
            logging.WARNING if large else logging.INFO,
            "%s: state about %.0f MB (K = %d, d = %d, mode %s)",
            layer,
            collector.state_bytes / 1e6,
            K,
            source.num_features,
            plan.mode,
        )
        splits = collector.run()
        pooled = (pooling or {}).get(layer, "none")
        assembly.enter(source, layer, primary=layer == primary, pooling=pooled)
        for split in splits:
            assembly.add(split)
            if options.progress is not None:
                options.progress("metrics", number + 1, len(sources))
        layers[layer] = {
            "dim": source.num_features,
            "pooling": pooled,
            "mode": plan.mode,
            "scatter": splits[0].moments.scatter_form,
            "dtype": str(source.dtype).removeprefix("torch."),
        }
        if layer == primary:
            config = {
                "definition": options.asked,
                "weighting": plan.weighting,
                "mode": plan.mode,
                "scatter": splits[0].moments.scatter_form,
                "ignore_index": options.ignore_index,
                "null": options.null,
                "intervals": options.intervals,
                "decisions": options.decisions,
                "seed": options.seed,
                "memory_budget": options.memory_budget,
                "chunk_rows": plan.chunk_rows,
                "state_bytes": collector.state_bytes,
                "features_dtype": str(source.dtype).removeprefix("torch."),
                "between_scatter": assembly.spectra,
                "splits": {split.name: int(split.moments.num_samples) for split in splits},
            }
    config["layers"] = layers
    config |= extra or {}
    return assembly.finish(config, K, trace)


def _plan(options: Options, source: FeatureSource, ranks: Ranks | None) -> Plan:
    """The plan for one source, of which each of the ranks may hold a part."""
    if ranks is None:
        return options.plan(source)
    if isinstance(source, PartSource):
        return options.plan(source.whole)
    whole = WholeLabels(source, ranks)
    source.__dict__["fingerprint"] = common_fingerprint(source, ranks)
    return options.plan(whole)


def lean(
    plan: Plan, source: FeatureSource, layer: str, options: Options, warnings: list[str]
) -> None:
    """Set mode trace where second moments do not fit, or where pairs are sampled anyway."""
    size = 8.0 * source.num_features**2
    if plan.mode == "full" and size > max(options.memory_budget, SMALL_MATRIX):
        plan.mode = "trace"
        warnings.append(
            f"layer {layer}: second moments of {source.num_features} features do not fit into "
            f"the memory budget ({size / 1e9:.1f} of {options.memory_budget / 1e9:.1f} GB), so "
            "only traces are read there; pool by the mean, pass mode='sketch' or a larger budget"
        )
    elif plan.mode == "full" and pairs_of(plan.num_classes) > options.pair_budget:
        plan.mode = "trace"
        warnings.append(
            f"layer {layer}: {plan.num_classes} classes are past the pair budget, so only traces "
            "of the spread are kept (mode trace): nc1_fisher and nc1_vci are null"
        )


def frequent(
    sources: Mapping[str, FeatureSource], options: Options, ranks: Ranks | None
) -> tuple[Mapping[str, FeatureSource], list[str]]:
    """The sources without the classes that have fewer than `min_count` samples in the training (or
    first) split, and a sentence that counts them. Raises ValueError for min_count < 1."""
    if options.min_count < 1:
        raise ValueError(f"min_count={options.min_count}; at least 1 sample a class is needed")
    if options.min_count == 1:
        return sources, []
    if options.ignore_index is None:
        raise ValueError("min_count leaves classes out by ignore_index, which is None; pass one")
    source = list(sources.values())[-1]
    K = _plan(options, source, ranks).num_classes
    whole = source.whole if isinstance(source, PartSource) else source
    labels, codes = whole.labels, whole.split_codes
    if codes is not None:
        first = whole.splits.index("train") if "train" in whole.splits else 0
        labels = labels[codes == first]
    counts = torch.bincount(labels[labels != options.ignore_index], minlength=K)
    if ranks is not None and not isinstance(source, PartSource):
        counts = ranks.total(counts)
    kept = {}
    for name, each in sources.items():
        part = copy.copy(each)
        part.labels = drop_rare(each.labels, counts, options.min_count, options.ignore_index)
        if isinstance(part, PartSource):
            part.whole = copy.copy(part.whole)
            part.whole.labels = drop_rare(
                part.whole.labels, counts, options.min_count, options.ignore_index
            )
        kept[name] = part
    rare = counts < options.min_count
    note = (
        f"{int((rare & (counts > 0)).sum())} classes with fewer than {options.min_count} samples "
        f"are left out, with {int(counts[rare].sum())} of {int(counts.sum())} samples; "
        f"{int((counts == 0).sum())} of {K} classes do not occur"
    )
    return kept, [note]


def chosen_keys(keys: Iterable[str] | None) -> frozenset[str] | None:
    """Metrics to read, None for all. Raises ValueError for an unknown key."""
    if keys is None:
        return None
    unknown = sorted(set(keys) - set(METRICS))
    if unknown:
        raise ValueError(f"key {unknown[0]!r} is no metric; `ncollapse explain` lists them")
    return frozenset(keys)


def as_dtype(name: str | torch.dtype | None) -> torch.dtype | None:
    """A dtype by name: float32 (None: no mixed precision), float16, bfloat16."""
    if name is None or isinstance(name, torch.dtype):
        return name
    known = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in known:
        raise ValueError(f"dtype {name!r} is unknown; one of {', '.join(known)} is needed")
    return known[name]
