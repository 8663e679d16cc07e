"""What a batch must be before it is summed: one sentence for each thing that can be wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

NON_FINITE = "features hold NaN or infinity"
CURE = "remove or repair that sample, or measure an earlier checkpoint"


class NonFiniteError(ValueError):
    """A feature is NaN or infinite; `row` is the number of the first such sample, of class `label`
    where it has one."""

    def __init__(self, row: int, label: int | None = None, cure: str = CURE) -> None:
        of = "" if label is None else f" (class {label})"
        super().__init__(f"{NON_FINITE}, first in sample {row}{of}; {cure}")
        self.row = row


def check_batch(features: Tensor, labels: Tensor, num_classes: int, num_features: int) -> None:
    """Raise ValueError unless features are (samples, d) floats with one integer label each."""
    if features.dim() != 2 or features.shape[1] != num_features:
        raise ValueError(
            f"features have shape {tuple(features.shape)}; (samples, {num_features}) is needed: "
            "pool over space or tokens first"
        )
    if not features.dtype.is_floating_point:
        raise ValueError(f"features are {features.dtype}; a floating-point dtype is needed")
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} for {features.shape[0]} samples; one label "
            "a sample is needed"
        )
    if labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise ValueError(
            f"labels are {labels.dtype}; integers 0..{num_classes - 1} are needed: convert class "
            "names or scores to class numbers"
        )


def valid_samples(
    features: Tensor, labels: Tensor, rows: Tensor, num_classes: int, ignore_index: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Drop samples labelled `ignore_index`; raise ValueError for any other label out of range."""
    keep, wrong = kept_and_wrong(labels, num_classes, ignore_index)
    if bool(keep.all()):
        return features, labels, rows
    places = wrong.nonzero()
    if places.numel():
        where = int(places[0])
        raise ValueError(
            f"label {int(labels[where])} of sample {int(rows[where])} lies outside "
            f"0..{num_classes - 1}; pass the right num_classes, or ignore_index to skip a label"
        )
    return features[keep], labels[keep], rows[keep]


def kept_and_wrong(
    labels: Tensor, num_classes: int, ignore_index: int | None
) -> tuple[Tensor, Tensor]:
    """Which labels count, and which are mistakes; `ignore_index` is neither, wherever it lies."""
    inside = (labels >= 0) & (labels < num_classes)
    if ignore_index is None:
        return inside, ~inside
    skipped = labels == ignore_index
    return inside & ~skipped, ~inside & ~skipped


def diverged(model: nn.Module) -> bool:
    """Whether a parameter of the model is NaN or infinite."""
    made = [part for part in model.parameters() if not is_lazy(part)]
    return not all(bool(part.isfinite().all()) for part in made)
