"""The contract of every accumulator: plain sums about a pilot, so merging is addition."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Moments(Protocol):
    """Streaming statistics of labelled features.

    All states are plain sums about known centres. `merge` is exact in any order and from any
    number of parts; `state_dict` holds tensors and plain numbers only.
    """

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in a batch; the tensors may be reused by the caller afterwards."""
        ...

    def merge(self, other: Any) -> Any:
        """Add the samples of `other` to this accumulator, in place."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def reset(self) -> None: ...

    @property
    def state_bytes(self) -> int:
        """Memory of the state, known before the first batch."""
        ...


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
