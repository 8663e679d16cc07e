"""Sources of features, one a layer → one Measurement."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch

from ncollapse.answers.questions import judge
from ncollapse.collect.collector import Collector, Split
from ncollapse.collect.plan import Plan
from ncollapse.collect.ranks.parts import PartSource
from ncollapse.collect.ranks.ranks import Ranks, common_fingerprint
from ncollapse.collect.statistics.checks import NON_FINITE
from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.counts import LabelCounts
from ncollapse.collect.statistics.span import SpanScatter
from ncollapse.collect.tap.tokens import without_rare
from ncollapse.geometry import LARGEST_GRAM, Geometry
from ncollapse.measuring.classed import classed
from ncollapse.measuring.ids import Sources, numbered, whole
from ncollapse.measuring.measurement import Measurement
from ncollapse.measuring.options import Options
from ncollapse.measuring.paths import path_of
from ncollapse.pairs.means import pairs_of
from ncollapse.record.document import Document
from ncollapse.record.readings import ClassRow, Results, reference_of
from ncollapse.record.trace import Trace
from ncollapse.sources.features.arrays import FeatureSource
from ncollapse.sources.features.spanned import SpannedSource, spanned
from ncollapse.tasks import chosen

# A matrix of features × features up to this many bytes is kept whatever the budget.
SMALL_MATRIX = 2.0**26
LARGE_STATE = 2e8
log = logging.getLogger("ncollapse")


def measure_layers(
    sources: Sources,
    options: Options,
    *,
    pooling: Mapping[str, str] | None = None,
    channels: Mapping[str, str] | None = None,
    readers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    trace: Trace | None = None,
    warnings: tuple[str, ...] = (),
    ranks: Ranks | None = None,
    exact: bool = False,
    optional: Collection[str] | None = None,
    steps: Collection[str] = (),
) -> Measurement:
    """One source a layer, the last one first in importance: verdicts are about it.

    pooling: how each layer's output became a vector; channels: the axis that was kept; readers: the
    module that reads it next; extra: more
    entries of the config; exact: sums in float64 whatever the features; optional: layers that are
    left out, with a word, where their features are not finite (None: no layer has a name of its
    own). steps: layers with weights, of which those of one width are held against a straight line;
    none for no such path. With `ranks` the sources are the parts of each process, and every process
    returns the measurement of all.
    """
    sources, classes_said = classed(
        agreed(sources, ranks), options.task, options.ignore_index, ranks
    )
    sources, said = numbered(sources, options.num_classes, options.ignore_index, ranks)
    said = [*list(sources.values())[-1].notes, *classes_said, *said]
    primary = list(sources)[-1]
    task, why = chosen(options.task, whole(sources[primary], ranks))
    if task.sees == "targets":
        sources = {name: each.targeted() for name, each in sources.items()}
    K = options.plan(whole(sources[primary], ranks), task).num_classes
    sources, notes = frequent(sources, K, options, ranks)
    if notes:
        K = options.plan(whole(sources[primary], ranks), task).num_classes
    said = [*said, *notes, *warnings]
    results: Results = {}
    classes: list[ClassRow] = []
    geometries: dict[str, Geometry] = {}
    spectra: dict[str, Any] = {}
    details: dict[str, Any] = {}
    layers: dict[str, dict[str, Any]] = {}
    config: dict[str, Any] = {}
    samples = 0
    for number, (layer, source) in enumerate(sources.items()):
        plan = options.plan(whole(source, ranks), task, num_classes=K, exact=exact)
        inside = source if ranks is not None else spanned(source, options.memory_budget)
        plan, lean_note = lean(plan, inside, layer, options)
        said += lean_note
        collector = Collector(inside, plan, task, ranks)
        _log_state(layer, collector, exact)
        pooled = (pooling or {}).get(layer, "none")
        asked = options.reading(pooled)
        try:
            splits = collector.run()
            read = [(split, task.read(collector, split, asked, layer)) for split in splits]
        except ValueError as error:
            if NON_FINITE not in str(error) or optional is None or len(sources) == 1:
                raise
            if layer == primary or layer not in optional:
                raise ValueError(f"layer {layer!r}: {error}") from None
            said.append(f"layer {layer!r} is left out: {error}")
            log.warning(said[-1])
            continue
        for split, found in read:
            results.setdefault(split.name, {})[layer] = found.readings
            classes += found.classes
            if layer == primary:
                samples += found.num_samples
                said += found.notes
                if found.geometry is not None:
                    geometries[split.name] = _stored(found.geometry, inside, source, split)
                if found.spectrum:
                    spectra[split.name] = found.spectrum
                if found.details:
                    details[split.name] = dict(found.details)
            if options.told is not None:
                options.told("metrics", number + 1, len(sources))
        form = "span of means" if plan.wide else _scatter_form(splits[0].first)
        layers[layer] = {
            "dim": source.num_features,
            "pooling": pooled,
            "mode": plan.mode,
            "scatter": form,
            "dtype": str(source.dtype).removeprefix("torch."),
        }
        if layer in (channels or {}):
            layers[layer]["channels"] = (channels or {})[layer]
        if source.reads is not None and layer in (readers or {}):
            layers[layer]["read_by"] = (readers or {})[layer]
        if layer == primary:
            config = {
                "task": {"name": task.name, "why": why, "counted": task.counted},
                "reference": splits[0].name,
                "definition": options.asked,
                "weighting": plan.weighting,
                "mode": plan.mode,
                "scatter": form,
                "ignore_index": options.ignore_index,
                "null": options.null,
                "intervals": options.intervals,
                "decisions": options.decisions,
                "seed": options.seed,
                "memory_budget": options.memory_budget,
                "chunk_rows": plan.chunk_rows,
                "state_bytes": collector.state_bytes,
                "features_dtype": str(source.dtype).removeprefix("torch."),
                "between_scatter": spectra,
                "splits": {split.name: int(split.part.counts.sum()) for split in splits},
            }
    config["layers"] = layers
    if details:
        config["details"] = details
    config |= extra or {}
    source = sources[primary]
    paths: dict[str, Any] = {}
    if steps and ranks is None and task.name == "classification":
        walked = {name: sources[name] for name in sources if name in layers and name in steps}
        plan = options.plan(whole(source, ranks), task, num_classes=K, exact=exact)
        found_path, notes = path_of(walked, plan, options.seed)
        paths = {config["reference"]: found_path} if found_path else {}
        said += notes
    document = Document.build(
        source=source.description,
        config=config,
        seed=options.seed,
        data_hash=source.fingerprint,
        num_classes=K,
        num_features=source.num_features,
        num_samples=samples,
        results=results,
        verdicts=judge(
            results,
            classes,
            num_classes=K,
            num_features=source.num_features,
            layer=primary,
            trace=trace,
            task=task.name,
            reference=config["reference"],
            directions=spectra.get(config["reference"], {}).get("rank"),
        ),
        warnings=tuple(said),
        paths=paths,
    )
    return Measurement(document, tuple(classes), geometries, trace)


def _stored(
    geometry: Geometry, read: FeatureSource, given: FeatureSource, split: Split
) -> Geometry:
    """The geometry in the columns of the features that were given."""
    if not isinstance(read, SpannedSource):
        return geometry
    present = (split.part.counts > 0).nonzero().flatten()
    # A head of ordered grades is no row a class.
    weight = None if geometry.weight is None else given.weight
    return replace(
        geometry,
        means=None if geometry.means is None else read.stored(geometry.means),
        weight=None if weight is None else weight.to(torch.float64)[present],
    )


def agreed(sources: Sources, ranks: Ranks | None) -> Sources:
    """The sources with one fingerprint on all ranks."""
    if ranks is None:
        return sources
    return {
        name: source
        if isinstance(source, PartSource)
        else source.known_as(common_fingerprint(source, ranks))
        for name, source in sources.items()
    }


def lean(plan: Plan, source: FeatureSource, layer: str, options: Options) -> tuple[Plan, list[str]]:
    """The plan, in mode trace where second moments do not fit or pairs are sampled anyway; and a
    sentence that says so."""
    size = 8.0 * source.num_features**2
    if plan.mode == "full" and size > max(options.memory_budget, SMALL_MATRIX):
        span = SpanScatter.estimate(plan.num_classes, source.num_features)
        wide = span <= options.memory_budget and plan.num_classes <= LARGEST_GRAM
        read = (
            "nc1_fisher is read in the span of the class means by a second look, exactly, and "
            "nc1_vci is not read"
            if wide
            else "only traces are read there"
        )
        return replace(plan, mode="trace", wide=wide), [
            f"layer {layer}: second moments of {source.num_features} features do not fit into "
            f"the memory budget ({size / 1e9:.1f} of {options.memory_budget / 1e9:.1f} GB), so "
            f"{read}; pool by the mean, or pass a larger budget"
        ]
    if plan.mode == "full" and pairs_of(plan.num_classes) > options.pair_budget:
        return replace(plan, mode="trace"), [
            f"layer {layer}: {plan.num_classes} classes are past the pair budget, so only traces "
            "of the spread are kept (mode trace): nc1_fisher and nc1_vci are null"
        ]
    return plan, []


def frequent(
    sources: Sources, num_classes: int, options: Options, ranks: Ranks | None
) -> tuple[Sources, list[str]]:
    """The sources without the classes that have fewer than `min_count` samples in the training (or
    first) split, and a sentence that counts them. Raises ValueError for min_count < 1."""
    if options.min_count < 1:
        raise ValueError(f"min_count={options.min_count}; at least 1 sample a class is needed")
    if options.min_count == 1:
        return sources, []
    ignored = options.ignore_index
    if ignored is None:
        raise ValueError("min_count leaves classes out by ignore_index, which is None; pass one")
    source = list(sources.values())[-1]
    parted = isinstance(source, PartSource)
    held = source.whole if isinstance(source, PartSource) else source
    labels = held.labels
    if held.split_codes is not None:
        first = held.splits.index(reference_of(held.splits, options.reference))
        labels = labels[held.split_codes == first]
    counts = LabelCounts.of(labels, num_classes, ignored).counts
    if ranks is not None and not parted:
        counts = ranks.total(counts)
    kept = {
        name: each.relabelled(without_rare(counts, options.min_count, ignored))
        for name, each in sources.items()
    }
    rare = counts < options.min_count
    if int((~rare).sum()) < 2:
        raise ValueError(
            f"min_count={options.min_count} and the largest class has {int(counts.max())} samples; "
            "at least two classes of so many are needed: pass a smaller min_count"
        )
    note = (
        f"{int((rare & (counts > 0)).sum())} classes with fewer than {options.min_count} samples "
        f"are left out, with {int(counts[rare].sum())} of {int(counts.sum())} samples; "
        f"{int((counts == 0).sum())} of {num_classes} classes do not occur"
    )
    return kept, [note]


def _scatter_form(statistics: Mapping[str, object]) -> str:
    found = [one for one in statistics.values() if isinstance(one, ClassMoments)]
    return found[0].scatter_form if found else "none"


def _log_state(layer: str, collector: Collector, model: bool) -> None:
    large = model and collector.state_bytes > LARGE_STATE
    log.log(
        logging.WARNING if large else logging.INFO,
        "%s: state about %.0f MB (K = %d, d = %d, mode %s)",
        layer,
        collector.state_bytes / 1e6,
        collector.plan.num_classes,
        collector.source.num_features,
        collector.plan.mode,
    )
