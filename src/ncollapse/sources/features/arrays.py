"""Features and labels as a source: streamed in chunks, checked once, said clearly when wrong."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncollapse.sources.features.given import (
    SparseRows,
    as_tensor,
    column_of,
    features_of,
    floating,
    floats,
    labels_of,
)

EDGE_ROWS = 64
# Labels of samples that have several labels, or none: what classes skip.
NO_SINGLE = -100


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive rows: number of the first, features (rows, d), labels (rows) int64."""

    start: int
    features: Tensor
    labels: Tensor


class FeatureSource(ABC):
    """Features (N, d) with labels, read in file order as often as wanted, in flat memory.

    labels: (N) int64. targets: (N, n) where a sample has numbers in place of a class; labels are
    then zeros, so that what counts and deals samples sees one class. Rows of zeros and ones are the
    labels of a sample that may have several; labels are then those of samples with one, else -100.
    splits: names; split_codes:
    (N) index into them, None for one split.
    order: (N) places among the samples of all processes, where several read parts of one source.
    weight (K, d), bias (K), class_names: of the classifier, where known; thresholds (Q + 1) and
    link of ordered grades, whose weight is one row. dtype: of the stored features. decided: (N) the
    class that the model decides of each sample, for layers before the one that enters its head.
    tokens: "next" where a sample is a position of a text and its class the next token; successors:
    how often contexts of that text have several next tokens, where that was counted.
    reads: (r, d) orthonormal, what the weight behind the features reads most (`Geometry.reads`).
    description: what a report calls the source. notes: what a reader should know of it.
    """

    num_samples: int
    num_features: int
    dtype: torch.dtype
    labels: Tensor
    targets: Tensor | None = None
    splits: tuple[str, ...] = ("train",)
    split_codes: Tensor | None = None
    order: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    class_names: tuple[str, ...] | None = None
    decided: Tensor | None = None
    reads: Tensor | None = None
    thresholds: Tensor | None = None
    link: str = "logit"
    tokens: str | None = None
    successors: object | None = None
    description: str = "arrays"
    notes: tuple[str, ...] = ()

    @abstractmethod
    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        """Feature blocks of `size` rows (the last may be shorter), from row `start` on."""

    def chunks(self, rows: int = 8192, start: int = 0) -> Iterator[Chunk]:
        """Chunks of at most `rows` rows, from any row on."""
        place = start
        for block in self.rows(start, rows):
            stop = place + block.shape[0]
            yield Chunk(place, block, self.labels[place:stop])
            place = stop

    def relabelled(self, change: Callable[[Tensor], Tensor]) -> FeatureSource:
        """The same features with other labels; this source is left as it is."""
        found = copy.copy(self)
        found.__dict__.pop("fingerprint", None)
        found.labels = change(self.labels)
        return found

    def targeted(self) -> FeatureSource:
        """The same features with class numbers taken as numbers: one target."""
        if self.targets is not None:
            return self
        found = self.relabelled(torch.zeros_like)
        found.targets = self.labels.to(torch.float64)[:, None]
        return found

    def known_as(self, fingerprint: str) -> FeatureSource:
        """The same source under another fingerprint: that of the data of all processes."""
        found = copy.copy(self)
        found.__dict__["fingerprint"] = fingerprint
        return found

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of shapes, dtype, labels, splits, head and the first and last rows."""
        digest = hashlib.sha256()
        shape = (self.num_samples, self.num_features, str(self.dtype), self.splits)
        digest.update(repr(shape).encode())
        tail = max(0, self.num_samples - EDGE_ROWS)
        edges = [next(self.rows(place, EDGE_ROWS)) for place in sorted({0, tail})]
        parts = [self.labels, self.targets, self.split_codes, self.weight, self.bias, *edges]
        for part in parts:
            if part is not None:
                part = part.to(torch.float32) if part.dtype == torch.bfloat16 else part
                digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _take_labels(self, value: Any, class_names: Any = None) -> tuple[str, ...] | None:
        """Labels as they are passed; returns the names of the classes where those are known."""
        labels, names = labels_of(value, class_names, self.description)
        self._set_labels(labels)
        return names if class_names is None or names is None else tuple(map(str, class_names))

    def _check_named(self, named: tuple[str, ...] | None, class_names: Any) -> None:
        """Rows of a weight stand for classes that were numbered here: say in which order."""
        if named is None or self.weight is None or class_names is not None:
            return
        rows = int(self.weight.shape[0])
        if rows > 1 and rows != len(named):
            raise ValueError(
                f"{self.description}: labels are {len(named)} names and the weight has {rows} "
                "rows; pass class_names, the name of the class of each row"
            )
        self.notes += (
            "labels are names, which were numbered in their order (sorted, or that of the "
            f"categories): row 0 of the weight is taken for {named[0]!r}; class_names says it "
            "otherwise",
        )

    def _set_labels(self, labels: Tensor) -> None:
        if labels.dtype.is_floating_point and labels.dim() in (1, 2):
            self._set_targets(labels)
            return
        if labels.dim() == 2 and zeros_and_ones(labels):
            self._set_targets(labels.to(torch.float32))
            return
        self.labels = check_labels(labels, self.description)
        if self.labels.numel() != self.num_samples:
            raise ValueError(
                f"{self.description}: {self.num_samples} rows of features but "
                f"{self.labels.numel()} labels; one label a row is needed"
            )

    def _set_targets(self, targets: Tensor) -> None:
        """Numbers (N) or (N, n), of any real dtype."""
        self.targets = check_targets(targets, self.description)
        if self.targets.shape[0] != self.num_samples:
            raise ValueError(
                f"{self.description}: {self.num_samples} rows of features but "
                f"{self.targets.shape[0]} rows of targets; one row a sample is needed"
            )
        self.labels = torch.zeros(self.num_samples, dtype=torch.int64)
        if several_labels(self.targets):
            # Samples with one label are of its class, all others of none.
            one = self.targets.sum(1) == 1
            self.labels = torch.where(one, self.targets.argmax(1), NO_SINGLE)

    def _set_head(self, weight: Any, bias: Any) -> None:
        if weight is not None:
            self.weight = _real(as_tensor(weight), "weight", self.description)
            if self.weight.shape[:1] == (0,):
                raise ValueError(
                    f"{self.description}: weight has shape {tuple(self.weight.shape)}; one row a "
                    "class is needed"
                )
            if self.weight.dim() != 2 or self.weight.shape[1] != self.num_features:
                turned = self.weight.dim() == 2 and self.weight.shape[0] == self.num_features
                raise ValueError(
                    f"{self.description}: weight has shape {tuple(self.weight.shape)} but features "
                    f"have {self.num_features} columns; (classes, {self.num_features}) is needed"
                    f"{': pass weight.T' if turned else ', what the layer after them holds'}"
                )
            _check_finite(self.weight, "weight", self.description)
        if bias is not None:
            self.bias = _real(as_tensor(bias), "bias", self.description)
            if self.weight is None:
                raise ValueError(
                    f"{self.description}: a bias without a weight; pass both or neither"
                )
            if self.bias.shape != self.weight.shape[:1]:
                raise ValueError(
                    f"{self.description}: bias has shape {tuple(self.bias.shape)} for "
                    f"{self.weight.shape[0]} classes; ({self.weight.shape[0]},) is needed, a "
                    "number a row of the weight"
                )
            _check_finite(self.bias, "bias", self.description)

    def _set_thresholds(self, thresholds: Any, link: str = "logit") -> None:
        if thresholds is not None:
            self.thresholds = as_tensor(thresholds).to(torch.float64)
        self.link = link

    def _set_split(self, split: Any) -> None:
        if split is None:
            return
        values = np.asarray(split)
        _check_names(values, "split", self.description)
        if values.shape != (self.num_samples,):
            raise ValueError(
                f"{self.description}: split has shape {values.shape} for {self.num_samples} "
                "samples; one name a sample is needed, such as 'train' or 'test'"
            )
        names, first, codes = np.unique(values.astype(str), return_index=True, return_inverse=True)
        # In the order given, not the alphabet's.
        order = np.argsort(first)
        self.splits = tuple(str(names[place]) for place in order)
        self.split_codes = torch.from_numpy(np.argsort(order)[codes].astype(np.int64))

    def _set_names(self, names: Any) -> None:
        if names is None:
            return
        values = np.asarray(names)
        _check_names(values, "class_names", self.description)
        if values.ndim != 1:
            raise ValueError(
                f"{self.description}: class_names are {names!r:.60}, of shape {values.shape}; a "
                "list of names, one a class, is needed"
            )
        self.class_names = tuple(str(name) for name in values.tolist())
        known = int(self.labels.max()) + 1 if self.labels.numel() else 0
        headed = self.weight is not None and self.thresholds is None
        known = known if self.targets is None else self.targets.shape[1]
        needed = int(self.weight.shape[0]) if headed and self.weight is not None else known
        if len(self.class_names) < needed:
            raise ValueError(
                f"{self.description}: {len(self.class_names)} class names for {needed} classes; "
                "one name a class is needed, in the order of class numbers"
            )


class ArraySource(FeatureSource):
    """Arrays, tensors, tables or sparse matrices in memory; what is floating-point already and
    dense is not copied.

    Labels are class numbers, names (numbered in sorted order, or by class_names) or truths; real
    numbers are targets. Raises ValueError for shapes that disagree, and no samples.
    """

    def __init__(
        self,
        features: Any,
        labels: Any,
        weight: Any = None,
        bias: Any = None,
        split: Any = None,
        class_names: Any = None,
        description: str = "arrays",
        thresholds: Any = None,
        link: str = "logit",
    ) -> None:
        self.description = description
        features, labels = column_of(features, labels)
        self._features: Tensor | SparseRows = features_of(features)
        check_shape(tuple(self._features.shape), self._features.dtype, description)
        self.num_samples, self.num_features = self._features.shape
        self.dtype = floating(self._features.dtype)
        named = self._take_labels(labels, class_names)
        self._set_head(weight, bias)
        self._check_named(named, class_names)
        self._set_split(split)
        self._set_thresholds(thresholds, link)
        self._set_names(class_names if named is None else named)

    def rows(self, start: int, size: int) -> Iterator[Tensor]:
        for place in range(start, self.num_samples, size):
            yield floats(self._features[place : place + size])


def check_shape(shape: tuple[int, ...], dtype: torch.dtype, description: str) -> None:
    """Features must be (samples, dim) real numbers with at least one of each."""
    if len(shape) != 2:
        what = "pool over space or tokens first"
        raise ValueError(
            f"{description}: features have shape {shape}; (samples, dim) is needed, "
            f"{what if len(shape) > 2 else 'features[:, None] of one number a sample'}"
        )
    if dtype.is_complex:
        raise ValueError(f"{description}: features are {dtype}; real numbers are needed")
    if shape[0] == 0 or shape[1] == 0:
        raise ValueError(
            f"{description}: features have shape {shape}; no samples to measure: at least one of "
            "one feature is needed, look for what filtered all out"
        )


def check_labels(labels: Tensor, description: str) -> Tensor:
    """Labels as int64; anything but a vector of integers is refused."""
    if labels.dim() != 1:
        raise ValueError(
            f"{description}: labels have shape {tuple(labels.shape)}; one class number a sample "
            f"is needed{_of_labels(labels)}"
        )
    if labels.dtype.is_floating_point or labels.dtype == torch.bool or labels.dtype.is_complex:
        raise ValueError(
            f"{description}: labels are {labels.dtype}; integers 0..K-1 are needed, convert them "
            "with .astype(int) if they are class numbers"
        )
    return labels.to(torch.int64)


def _of_labels(labels: Tensor) -> str:
    """What a matrix of labels may be, and what to do about it."""
    if labels.dim() == 2:
        return ": of scores of classes pass labels.argmax(1)"
    return ": of pixels or tokens pass one row a pixel or token, and its label"


def zeros_and_ones(labels: Tensor) -> bool:
    """Whether these are rows of zeros and ones, at least two columns of them."""
    return labels.dim() == 2 and labels.shape[1] > 1 and bool(((labels == 0) | (labels == 1)).all())


def several_labels(targets: Tensor) -> bool:
    """Whether each row marks the labels of a sample: zeros and ones, not one 1 in every row."""
    return zeros_and_ones(targets) and bool((targets.sum(1) != 1).any())


def check_targets(targets: Tensor, description: str) -> Tensor:
    """Targets as (samples, numbers) of a floating-point dtype; NaN and infinity are refused."""
    if targets.dim() not in (1, 2) or targets.is_complex() or targets.shape[-1] == 0:
        raise ValueError(
            f"{description}: targets have shape {tuple(targets.shape)} and dtype {targets.dtype}; "
            "real numbers (samples) or (samples, targets) are needed: reshape or pool them"
        )
    found = targets if targets.dtype.is_floating_point else targets.to(torch.float64)
    found = found[:, None] if found.dim() == 1 else found
    bad = (~found.isfinite().all(1)).nonzero()
    if bad.numel():
        raise ValueError(
            f"{description}: labels hold NaN or infinity, first that of sample {int(bad[0])}; "
            "finite ones are needed: leave those samples out, or repair them"
        )
    return found


def _real(values: Tensor, name: str, description: str) -> Tensor:
    if values.is_complex():
        raise ValueError(
            f"{description}: {name} is {values.dtype}; real numbers are needed: pass .real of it"
        )
    return values


def _check_names(values: np.ndarray[Any, np.dtype[Any]], name: str, description: str) -> None:
    if values.dtype.kind not in "USOiub":
        raise ValueError(
            f"{description}: {name} is an array of {values.dtype}; texts (or integers) are needed, "
            f"one a {'sample' if name == 'split' else 'class'}"
        )


def _check_finite(values: Tensor, name: str, description: str) -> None:
    bad = (~values.isfinite().reshape(values.shape[0], -1).all(1)).nonzero()
    if bad.numel():
        raise ValueError(
            f"{description}: {name} holds NaN or infinity, first in class {int(bad[0])}; finite "
            "numbers are needed: measure an earlier checkpoint, or the classes that are finite"
        )
