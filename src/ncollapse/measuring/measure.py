"""measure, measure_features, measure_source: models, arrays or files → Measurement."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor, nn

from ncollapse.collect.collector import Collector
from ncollapse.collect.keep.cache import ONE_SHOT, FeatureCache, RecomputedSource
from ncollapse.collect.keep.gaps import fill_gaps
from ncollapse.collect.keep.identity import fingerprint
from ncollapse.collect.keep.kept import KeptCache
from ncollapse.collect.ranks.parts import PartSource
from ncollapse.collect.ranks.ranks import Ranks, together
from ncollapse.collect.ranks.shares import check_order
from ncollapse.collect.tap.batches import Unpack as UnpackBatch
from ncollapse.collect.tap.heads import GUESSED, ONE_LOGIT
from ncollapse.collect.tap.ordered import thresholds_of
from ncollapse.collect.tap.pooling import Pool
from ncollapse.collect.tap.select import Layers
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.collect.tap.tokens import token_kind
from ncollapse.measuring.bars import shown
from ncollapse.measuring.classed import classed
from ncollapse.measuring.deep import steps_of, with_depth
from ncollapse.measuring.embedders import check_classifier
from ncollapse.measuring.following import Following
from ncollapse.measuring.foreign import Foreign, unlabelled, with_ood
from ncollapse.measuring.ids import numbered, whole
from ncollapse.measuring.layers import measure_layers
from ncollapse.measuring.loaders import split_loaders
from ncollapse.measuring.made import as_made, check_names, head_of, names_known
from ncollapse.measuring.measurement import Measurement
from ncollapse.measuring.options import MeasureOptions, Options, SourceOptions, as_dtype, options_of
from ncollapse.record.trace import Trace
from ncollapse.sources.features.arrays import ArraySource, FeatureSource
from ncollapse.sources.features.given import no_source
from ncollapse.tasks import chosen as chosen_task

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("ncollapse")
# So many layers with weights, or more, are held against a straight line unasked.
SHORTEST = 3
# Keywords of the verbs that are no options of reading; for the error that names the nearest.
ARRAY_KEYWORDS = (
    "weight", "bias", "split", "class_names", "thresholds", "link", "trace", "share", "ood",
)  # fmt: skip
MODEL_KEYWORDS = (
    "train", "test", "layers", "head", "pool", "unpack", "limit", "batch_size", "autocast",
    "tokens", "cache", "cache_budget", "class_names", "description", "trace", "geodesic",
    "ood",
)  # fmt: skip


def measure(
    model: nn.Module,
    data: Any = None,
    *,
    train: Any = None,
    test: Any = None,
    layers: Layers = None,
    head: str | nn.Module | bool | None = None,
    pool: Pool | dict[str, Pool] = "auto",
    unpack: UnpackBatch | None = None,
    limit: int | None = None,
    batch_size: int = 128,
    autocast: str | torch.dtype | None = None,
    tokens: bool | str | None = None,
    cache: bool = True,
    cache_budget: float = 1e9,
    class_names: Any = None,
    description: str | None = None,
    trace: Trace | None = None,
    geodesic: bool | None = None,
    ood: Any = None,
    **options: Unpack[MeasureOptions],
) -> Measurement:
    """Neural collapse of a model on its data, in one forward pass.

    `data` (or `train` and `test`, or a mapping of split names) are loaders of (input, label) pairs
    (float targets are those of a regression) or of mappings with `labels`, datasets, or pairs of
    tensors; `unpack` maps other batches to (inputs, labels). The head is found and checked
    (head(features) == logits) unless named; `layers` adds others: names, globs, a predicate, or "*"
    for every block, pooled by `pool`. Features are kept up to `cache_budget` bytes in memory, then
    on disk; `cache=False` runs the model again instead. `limit` bounds the samples a split,
    `autocast` sets mixed precision, `trace` adds readings along training. `geodesic` compares three
    or more layers of one width with the straight line between the first and the last of them
    (`Measurement.path`); by default where layers are asked for and features are kept. `ood` is data
    of other classes, or such data by name, labelled or not: `Measurement.ood` says how well scores
    tell it apart. Other keywords are those of `measure_source`.

    `tokens=True` measures a causal language model: every token position is a sample, its class
    the next token (see `ncollapse.collect.tap.tokens`), which makes the task "language"; unasked so
    are causal models of transformers on batches of token ids. "same" reads a label a token;
    `min_count` leaves rare classes out. In an initialised process group the call is collective:
    ranks share the samples (a DistributedSampler's padding is dropped, a loader that all ranks have
    alike is dealt in batches) and each returns the measurement of all. `snapshot` is then a folder
    in which the pass is kept as it goes; `resume` continues there, on any number of ranks.

    The model's mode, its hooks and the global random states are put back.

    >>> m = measure(model, train=train_loader, test=test_loader, layers="*")  # doctest: +SKIP
    >>> print(m)                                                             # doctest: +SKIP

    Raises ValueError for heads that do not make the logits, layers that match nothing or never
    fire, empty loaders, unexpected batches, labels beyond the head's width, and whatever
    `measure_source` raises.
    """
    given = options_of("measure", options, MODEL_KEYWORDS)
    ranks = Ranks.current()
    loaders = split_loaders(data, train, test)
    taps = Taps(model, layers, head=head, pool=pool)
    said: dict[str, Any] = {
        "class_names": class_names,
        "description": description or type(taps.model).__name__,
    }
    with shown(given) as chosen:
        how = {"batch_size": batch_size, "autocast": as_dtype(autocast), "budget": cache_budget}
        foreign = Foreign.of(ood, loaders, ranks, unpack=unpack, limit=limit, **how)
        stream = ModelStream(
            taps,
            loaders,
            unpack=unpack,
            limit=limit,
            batch_size=batch_size,
            autocast=as_dtype(autocast),
            ignore_index=chosen.ignore_index,
            progress=chosen.told,
            tokens=token_kind(tokens),
            ranks=ranks,
            numbers=True,
            heard=(following := Following()),
        )
        if chosen.snapshot is not None:
            if not cache:
                raise ValueError(
                    "a snapshot keeps the features, and cache=False keeps none; pass one"
                )
            with together(ranks):
                check_order(loaders)
            kind = (stream.tokens, limit, pool, head, str(stream.autocast), chosen.ignore_index)
            kept = KeptCache(
                Path(chosen.snapshot),
                every=chosen.snapshot_every,
                splits=tuple(loaders),
                fingerprint=fingerprint(taps.model, taps.modules, kind),
                ranks=ranks,
            )
            stream.done = kept.begin(chosen.resume)
            chosen = replace(chosen, snapshot=None, resume=False)
            with kept:
                with together(ranks):
                    kept.fill(stream)
                    kept.save()
                following.kind = stream.tokens
                said["class_names"] = names_known(class_names, taps, loaders)
                said |= {"ranks": ranks, "geodesic": geodesic, "following": following}
                return measure_cache(kept, taps, chosen, trace=trace, foreign=foreign, **said)
        if not cache:
            return _recomputed(stream, chosen, said, trace, geodesic is True, following, foreign)
        with FeatureCache(cache_budget, splits=() if ranks is None else tuple(loaders)) as features:
            with together(ranks):
                features.fill(stream)
            following.kind = stream.tokens
            said["class_names"] = names_known(class_names, taps, loaders)
            said |= {"ranks": ranks, "geodesic": geodesic, "following": following}
            return measure_cache(features, taps, chosen, trace=trace, foreign=foreign, **said)


def measure_cache(
    cache: FeatureCache,
    taps: Taps,
    options: Options,
    *,
    class_names: Any = None,
    description: str = "model",
    following: Following | None = None,
    trace: Trace | None = None,
    ranks: Ranks | None = None,
    geodesic: bool | None = False,
    foreign: Foreign | None = None,
) -> Measurement:
    """The layers of a filled cache → Measurement; the taps say which head made them; following:
    what the pass told where tokens are samples.

    With `ranks` each process passes the cache of its part, and all return the whole.
    """
    if ranks is not None:
        fill_gaps(cache, taps, ranks)
    check_names(class_names, taps)
    said = {"class_names": class_names, "description": description}
    sources: dict[str, FeatureSource] = {
        layer: as_made(cache.source(layer, **head_of(taps, layer), **said), taps)
        for layer in taps.layers
    }
    where = "disk" if cache.on_disk else "memory"
    walk = len(steps_of(taps)) >= SHORTEST if geodesic is None else geodesic
    return _finish(sources, taps, options, trace, where, ranks, walk, following, foreign)


def _recomputed(
    stream: ModelStream,
    options: Options,
    said: dict[str, Any],
    trace: Trace | None,
    geodesic: bool,
    following: Following,
    foreign: Foreign | None,
) -> Measurement:
    """Without a cache: labels first, then a forward pass at every look at every layer."""
    if stream.one_shot:
        raise ValueError(ONE_SHOT)
    parts = list(stream.placed())
    following.kind = stream.tokens
    splits = tuple(dict.fromkeys(split for split, _, _ in parts))
    labels = torch.cat([found for _, found, _ in parts])
    codes = torch.cat([torch.full((len(found),), splits.index(split)) for split, found, _ in parts])
    orders = [order for _, _, order in parts if order is not None]
    for batch in stream:  # The first batch finds the head.
        layers = tuple(batch.features)
        break
    said["class_names"] = names_known(said["class_names"], stream.taps, stream.loaders)
    check_names(said["class_names"], stream.taps)
    sources: dict[str, FeatureSource] = {
        layer: as_made(
            RecomputedSource(
                stream, layer, labels, codes, splits, **head_of(stream.taps, layer), **said
            ),
            stream.taps,
        )
        for layer in layers
    }
    for source in sources.values():
        source.order = torch.cat(orders) if orders else None
    return _finish(
        sources, stream.taps, options, trace, "off", stream.ranks, geodesic, following, foreign
    )


def _finish(
    sources: dict[str, FeatureSource],
    taps: Taps,
    options: Options,
    trace: Trace | None,
    cache: str,
    ranks: Ranks | None,
    geodesic: bool,
    following: Following | None = None,
    foreign: Foreign | None = None,
) -> Measurement:
    sources = with_depth(sources, taps, options)
    if following is not None:
        following.tell(sources)
    extra: dict[str, Any] = {"cache": cache}
    if taps.head is not None:
        numbers = sources[HEAD].targets is not None
        if taps.head.origin == GUESSED and options.num_classes is None and not numbers:
            check_classifier(sources[HEAD], taps.head.name, options.ignore_index, ranks)
        extra["head"] = {
            "name": taps.head.name,
            "origin": taps.head.origin,
            "check": taps.head.check.partition(ONE_LOGIT)[0] if numbers else taps.head.check,
        }
        log.info("tap  %s", taps.head.described)
        ordered = thresholds_of(taps.model, taps.head.name)
        if ordered is not None:
            sources[HEAD].thresholds, sources[HEAD].link = ordered
    found = measure_layers(
        sources,
        options,
        pooling=taps.pooling,
        channels=taps.channels,
        readers={name: reader.name for name, reader in taps.readers.items()},
        extra=extra,
        trace=trace,
        warnings=() if taps.head is None or taps.head.note is None else (taps.head.note,),
        ranks=ranks,
        exact=True,
        optional=taps.by_pattern,
        steps=steps_of(taps) if geodesic else (),
    )
    return found if foreign is None else foreign.judged(found, taps, sources, options)


def measure_features(
    features: Tensor | np.ndarray[Any, Any],
    labels: Tensor | np.ndarray[Any, Any],
    *,
    weight: Tensor | np.ndarray[Any, Any] | None = None,
    bias: Tensor | np.ndarray[Any, Any] | None = None,
    split: Any = None,
    class_names: Any = None,
    thresholds: Any = None,
    link: str = "logit",
    ood: Any = None,
    **options: Unpack[SourceOptions],
) -> Measurement:
    """Neural collapse of features (samples, dim) with labels (samples): class numbers, names or
    truths; or with the targets of a regression: real numbers (samples) or (samples, targets).

    Features are arrays, tensors, lists, pandas tables (labels may then be the name of a column) or
    sparse matrices. Names are numbered in sorted order, categories in their own, and by
    `class_names` where those are passed.

    `weight` (classes, dim) and `bias` (classes) are the classifier; `split` names the split of
    each sample. Ordered grades have a weight (1, dim) and `thresholds` (grades + 1) with their
    `link`, which makes the task "ordinal". `ood` are features of foreign samples, or such by name
    (`Measurement.ood`). Every other keyword is one of `measure_source`. Nothing
    is copied or changed.

    >>> m = measure_features(features, labels, weight=W, bias=b)   # doctest: +SKIP
    >>> print(m)                                                   # doctest: +SKIP
    """
    trace, share = options.pop("trace", None), options.pop("share", False)
    given = options_of("measure_features", options, ARRAY_KEYWORDS)
    source = ArraySource(
        features,
        labels,
        weight=weight,
        bias=bias,
        split=split,
        class_names=class_names,
        thresholds=thresholds,
        link=link,
    )
    with shown(given) as chosen:
        found = _measured(source, chosen, trace, share)
        return found if ood is None else with_ood(found, source, unlabelled(ood), chosen)


def measure_source(
    source: FeatureSource,
    *,
    trace: Trace | None = None,
    share: bool = False,
    **options: Unpack[MeasureOptions],
) -> Measurement:
    """Neural collapse of a source of features, streamed in flat memory.

    K is the number of rows of the source's weight, else `num_classes`, else max(label) + 1;
    labels equal to `ignore_index` (-100) are skipped. `weighting` "macro" weighs every class
    alike, "micro" by its samples; `definition` asks for a published variant (see `ncollapse
    explain`). `mode` full, trace or sketch and `memory_budget` (2e9 bytes) bound the state.
    `null` and `intervals` add comparators; `decisions` the second look for NC4; `seed` seeds the
    comparators. `snapshot` is a file kept while running, every `snapshot_every` seconds; `resume`
    continues from it. `metrics` (or `keys`) reads these rows of `nc.list_metrics()` only;
    `directional` adds `dir_spread` and `norm_cv` to all others, at nearly half as much again;
    `class_ranks` keeps samples for the effective rank of single classes where no comparator
    does. `min_count` leaves out classes with fewer samples in the reference split, which is
    `reference`, else train, else the first in the order given: its class means decide for all
    splits, and verdicts are about it.
    `task` says what labels mean; "auto" finds it, and the config says which and why.
    `progress(stage, done, total)` is called along the way; True shows bars. With `share=True`
    the processes of an initialised group read a part of the rows each: the call is collective,
    every process passes the same source and returns the same measurement.

    Raises ValueError for labels outside 0..K-1 other than `ignore_index`, fewer than two classes,
    shapes that disagree, NaN or infinite features, an unknown definition or mode; TypeError for
    an unknown keyword.
    """
    if not isinstance(source, FeatureSource):
        raise ValueError(no_source(source))
    with shown(options_of("measure_source", options, ARRAY_KEYWORDS)) as chosen:
        return _measured(source, chosen, trace, share)


def _measured(
    source: FeatureSource, options: Options, trace: Trace | None, share: bool
) -> Measurement:
    ranks = Ranks.current() if share else None
    if ranks is not None:
        source = PartSource.of(source, ranks.rank, ranks.size)
    return measure_layers({HEAD: source}, options, trace=trace, ranks=ranks)


def state_estimate(source: FeatureSource, **options: Unpack[MeasureOptions]) -> int:
    """Bytes that measuring `source` will keep beside the features, before a row is read.

    Options are those of `measure_source`.
    """
    chosen = options_of("state_estimate", options)
    sources, _ = classed({HEAD: source}, chosen.task, chosen.ignore_index, None)
    (source,) = numbered(sources, chosen.num_classes, chosen.ignore_index, None)[0].values()
    task, _ = chosen_task(chosen.task, source)
    source = source.targeted() if task.sees == "targets" else source
    return Collector(source, chosen.plan(whole(source, None), task), task).state_bytes
