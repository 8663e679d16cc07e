"""What is read along training beside the catalog's rows: a view of a layer, and who looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class View:
    """A layer of a model on a split, at one moment: features and labels in the order of the data;
    where the layer is what the head reads, logits and the head's weight (classes, dim) and bias.
    """

    split: str
    layer: str
    features: Float[Tensor, "samples dim"]
    labels: Int[Tensor, " samples"]
    logits: Float[Tensor, "samples classes"] | None = None
    weight: Float[Tensor, "classes dim"] | None = None
    bias: Float[Tensor, " classes"] | None = None


@runtime_checkable
class Watcher(Protocol):
    """Reads a view: numbers by key, none where it has nothing to say of that layer or split.

    `nc.Tracker(model, …, watch=[…])` asks each at every probe and writes what it says to the trace.
    One that has `reads_logits = False` does not need the view's logits, which may then be None.
    """

    def read(self, view: View) -> Mapping[str, float | None]: ...
