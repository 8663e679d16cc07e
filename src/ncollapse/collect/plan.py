"""How a source is collected, and how many classes it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ncollapse.record.readings import reference_of
from ncollapse.sources.features.arrays import FeatureSource
from ncollapse.sources.features.claims import check_implied, check_memory

Progress = Callable[[str, int, int], None]
CHUNK_ROWS = 8192


@runtime_checkable
class Labelled(Protocol):
    """What classes are counted from. targets: numbers (N, n) in their place; with several processes
    those of this one."""

    labels: Tensor
    targets: Tensor | None
    splits: tuple[str, ...]
    split_codes: Tensor | None
    weight: Tensor | None
    description: str


@dataclass(frozen=True)
class Plan:
    """How a source is collected: options that a snapshot must agree with.

    reference: the split whose means all splits are decided by. exact: sums and products in float64
    whatever the features' dtype, so that the number of processes cannot be told from the result.
    wide: mode trace because of so many features, so that a second look reads Σ_W in the span of
    the class means.
    directions: whether directions and lengths are collected too. min_count: as asked for.
    predictions: whether what a language model predicts is collected. kept: whether single samples
    are kept even where no comparator asks for them.
    """

    num_classes: int
    weighting: str = "macro"
    mode: str = "full"
    memory_budget: float = 2e9
    ignore_index: int | None = -100
    decisions: bool = True
    intervals: bool = True
    null: bool = True
    seed: int = 0
    snapshot: Path | None = None
    snapshot_every: float = 30.0
    resume: bool = False
    progress: Progress | None = None
    chunk_rows: int = CHUNK_ROWS
    exact: bool = False
    reference: str | None = None
    wide: bool = False
    directions: bool = False
    min_count: int = 1
    predictions: bool = True
    kept: bool = False

    def fingerprint(self, source: FeatureSource) -> dict[str, Any]:
        return {
            "source": source.fingerprint,
            "num_classes": self.num_classes,
            "weighting": self.weighting,
            "mode": self.mode,
            "memory_budget": self.memory_budget,
            "ignore_index": self.ignore_index,
            "decisions": self.decisions,
            "intervals": self.intervals,
            "null": self.null,
            "chunk_rows": self.chunk_rows,
            "seed": self.seed,
            "exact": self.exact,
            "wide": self.wide,
            "reference": reference_of(source.splits, self.reference),
            **({"directions": True} if self.directions else {}),
            **({"kept": True} if self.kept else {}),
        }


def class_count(
    source: Labelled, num_classes: int | None, ignore_index: int | None, chosen: str | None = None
) -> int:
    """K: rows of the weight, else `num_classes`, else max(label) + 1.

    Raises ValueError for K < 2, labels outside 0..K-1, and fewer than two classes present.
    """
    labels = source.labels
    if source.targets is not None:
        raise ValueError(
            f"{source.description}: labels have shape {tuple(source.targets.squeeze(1).shape)} and "
            f"dtype {source.targets.dtype}; integers 0..K-1 are needed, one a sample"
            f"{_cure(source.targets)}"
        )
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
        check_implied(labels, count, source.description)
    if count < 2:
        raise ValueError(
            f"{source.description}: K = {count} class ({origin}); neural collapse compares at "
            "least two classes: add samples of another class, or pass the classifier's weight"
        )
    # The means alone, in float64: what any mode keeps.
    width = getattr(source, "num_features", 1)
    check_memory(8.0 * count * width, f"{source.description}: means of {count} classes ({origin})")
    wrong = (labels < 0) | (labels >= count)
    if ignore_index is not None:
        wrong &= labels != ignore_index
    places = wrong.nonzero()
    if places.numel():
        row = int(places[0])
        raise ValueError(
            f"{source.description}: label {int(labels[row])} of sample {row} lies outside "
            f"0..{count - 1} ({origin}); {_renumber(int(labels[row]), source, num_classes)}, or "
            "pass ignore_index to skip a label"
        )
    reference = kept
    if source.split_codes is not None:
        name = reference_of(source.splits, chosen)
        mine = source.split_codes == source.splits.index(name)
        reference = (
            labels[mine] if ignore_index is None else labels[mine & (labels != ignore_index)]
        )
    present = reference.unique()
    if present.numel() < 2:
        raise ValueError(
            f"{source.description}: only class {present.tolist()} is present among "
            f"{reference.numel()} samples of split {reference_of(source.splits, chosen)!r}; at "
            "least two classes are needed: shuffle before limiting the samples, or name another "
            "split by reference="
        )
    return count


def _cure(targets: Tensor) -> str:
    """How real numbers become labels, if they can."""
    if targets.shape[1] > 1:
        return (
            ": of scores or mixed labels pass labels.argmax(1), of real targets task='regression'"
        )
    if bool((targets == targets.round()).all()):
        return ": pass labels.astype(int)"
    return ": numbers that are no classes are measured by task='regression'"


def _renumber(label: int, source: Labelled, num_classes: int | None) -> str:
    if label < 0:
        return "number classes from 0"
    if source.weight is not None:
        return "number classes from 0 in the order of its rows"
    return "pass a larger one" if num_classes is not None else "pass num_classes"
