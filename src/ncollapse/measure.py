"""measure_features, measure_source: arrays or files → Measurement."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ncollapse.assembly import Assembly
from ncollapse.collect.passes import Collector, Plan, Progress
from ncollapse.measurement import Measurement
from ncollapse.metrics.catalog import DEFINITIONS
from ncollapse.metrics.readings import within_weighting
from ncollapse.sources.arrays import ArraySource, FeatureSource

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("ncollapse")


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
    assembly = Assembly(source, asked, null, intervals, seed, progress)
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


def _plan(
    source: FeatureSource, asked: str, *, num_classes: int | None = None, **options: Any
) -> Plan:
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
        reference = (
            labels[mine] if ignore_index is None else labels[mine & (labels != ignore_index)]
        )
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
