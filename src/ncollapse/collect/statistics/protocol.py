"""Statistic: one mergeable sum over samples, and what all of them agree to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
# What a statistic may need of a batch; "means": means of all samples, so that it is filled by a
# second look at the features.
NEEDS = frozenset({"features", "labels", "targets", "means"})


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples on their way into statistics: features (samples, d), labels (samples).

    rows: their numbers, for messages. stored: the features as they are stored, where `features`
    are those in float64. places: how many of its split and class come before each sample, where
    other processes have seen some of them. decided: the classes that the model decides, where a
    layer before its head is read. targets: (samples, n) numbers, where a sample has them.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor
    stored: Tensor
    places: Tensor | None = None
    decided: Tensor | None = None
    targets: Tensor | None = None

    def select(self, index: Tensor) -> Batch:
        """Some of the samples."""
        if index.numel() == self.labels.numel():
            return self
        stored = self.stored[index]
        same = self.features is self.stored
        return Batch(
            stored if same else self.features[index],
            self.labels[index],
            self.rows[index],
            stored,
            None if self.places is None else self.places[index],
            None if self.decided is None else self.decided[index],
            None if self.targets is None else self.targets[index],
        )


@runtime_checkable
class Statistic(Protocol):
    """A sum over samples. Merging is exact, in any order and from any number of parts.

    Over processes merging is two sums: first of `centres`, which are small and make the parts
    comparable (where pilots lie; empty for most), then of `summands` about them; `minima` are
    merged by the smallest. `identity` says what parts must have in common to be merged.
    """

    needs: ClassVar[frozenset[str]]

    def take(self, batch: Batch) -> None:
        """Add a batch; its tensors may be reused by the caller afterwards."""
        ...

    def merge(self, other: Any) -> Any:
        """Add the samples of `other`, in place."""
        ...

    @property
    def identity(self) -> str: ...

    def flush(self) -> None:
        """Take in what waits. Raises ValueError where a sample cannot be taken in."""
        ...

    def centres(self) -> dict[str, Tensor]:
        """Float64 tensors whose sum over all parts says about what `summands` are formed."""
        ...

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        """Named tensors whose sum over all parts is the state of the whole."""
        ...

    def minima(self) -> dict[str, Tensor]:
        """Named tensors whose smallest over all parts is that of the whole."""
        ...

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        """Become the statistic of the whole, of which the sums over all parts are given."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    @property
    def state_bytes(self) -> int:
        """Memory of the state, known before the first batch."""
        ...

    def result(self) -> Any:
        """What the samples so far amount to."""
        ...


class Summed:
    """What a statistic has that lets nothing wait, needs no centre and keeps no minimum."""

    def flush(self) -> None:
        """Nothing waits."""

    def centres(self) -> dict[str, Tensor]:
        return {}

    def minima(self) -> dict[str, Tensor]:
        return {}


def added(parts: Sequence[Tensors]) -> dict[str, Tensor]:
    """The sums of tensors by name."""
    return {name: sum((part[name] for part in parts[1:]), parts[0][name]) for name in parts[0]}


def state_dtype(device: torch.device) -> torch.dtype:
    """float64 where the device has it; Apple's MPS has none and keeps pilot-shifted float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def working_dtype(features: torch.dtype) -> torch.dtype:
    """dtype of batch products: float64 for float64 features, float32 for everything narrower."""
    return torch.float64 if features == torch.float64 else torch.float32


def first_rows(labels: Tensor, num_classes: int) -> Tensor:
    """Per class the position of its first sample in the batch, len(labels) if it has none."""
    size = labels.numel()
    positions = torch.arange(size, device=labels.device)
    first = torch.full((num_classes,), size, dtype=torch.int64, device=labels.device)
    return first.scatter_reduce_(0, labels, positions, "amin")
