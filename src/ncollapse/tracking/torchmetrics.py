"""NeuralCollapseMetric: the readings as a torchmetrics.Metric, right under DDP and merging."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.metrics.readings import within_weighting
from ncollapse.sources.specs.optional import optional
from ncollapse.tracking.metric import in_order, plot, values_of

if TYPE_CHECKING:
    from torchmetrics import Metric
else:
    Metric = optional("torchmetrics").Metric

NAMES = ("counts", "seen", "squares", "pilots", "sums", "products")


class NeuralCollapseMetric(Metric):  # type: ignore[misc, unused-ignore]
    """`NeuralCollapse` for torchmetrics: update(features, target), compute() → dict of scalars.

    Arguments are those of `NeuralCollapse`; others go to torchmetrics.Metric. `set_head` adds NC3.
    mode "full" keeps K d² numbers up to `memory_budget` bytes, else d²; "trace" K d.

    torchmetrics reduces every state by itself, but sums about pilots can be added only once they
    are moved to common ones, for which all must be at hand: so there is one state, a flat float64
    vector, whose reduction merges rows exactly, for `forward`, `merge_state` and DDP alike. It
    begins with `ignore_index`, so that metrics that differ never share a compute group.

    Raises ValueError as `NeuralCollapse` does, and where torchmetrics is missing.
    """

    is_differentiable, higher_is_better, full_state_update = False, None, False
    state: Tensor

    def __init__(
        self,
        num_classes: int,
        num_features: int,
        *,
        keys: Iterable[str] | None = None,
        definition: str = "macro",
        mode: str = "full",
        memory_budget: float = 2e8,
        ignore_index: int | None = -100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keys = in_order(keys, definition)
        self.definition = definition
        self._options: dict[str, Any] = {
            "num_classes": num_classes,
            "num_features": num_features,
            "mode": mode,
            "weighting": within_weighting(definition),
            "memory_budget": memory_budget,
            "ignore_index": ignore_index,
            "block_rows": 1,  # What waits for a full block would not be in the state.
        }
        self._head: tuple[Tensor | None, Tensor | None] = (None, None)
        self.add_state("state", default=self._pack(self._new()), dist_reduce_fx=self._merge)

    def set_head(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """The classifier's weight (K, d) and bias (K), for `compute`."""
        self._head = (weight.detach(), None if bias is None else bias.detach())

    def update(self, features: Tensor, target: Tensor) -> None:
        """Add features (samples, d) with integer labels (samples)."""
        batch = self._new()
        batch.update(features, target)
        self.state = self._pack(self._unpack(self.state).merge(batch))

    def compute(self) -> dict[str, Tensor]:
        """Readings by key, float64 scalars; NaN for what cannot be read."""
        return values_of(self._unpack(self.state), self.keys, self.definition, *self._head)

    def plot(self, val: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """(fig, ax): one set of readings as points, a list of them as curves."""
        return plot(self.compute() if val is None else val, ax)

    def _new(self) -> ClassMoments:
        return ClassMoments(**self._options, device=self.device)

    def _pack(self, moments: ClassMoments) -> Tensor:
        moments.flush()
        state = moments.state_dict()
        state.setdefault("pilots", torch.zeros_like(state["sums"]))
        ignored = float(self._options["ignore_index"] or 0)
        header = torch.tensor([ignored, state["rows"], state["resolution"]], dtype=torch.float64)
        parts = (state[name].to("cpu", torch.float64).flatten() for name in NAMES if name in state)
        return torch.cat([header, *parts]).to(self.device)

    def _unpack(self, state: Tensor) -> ClassMoments:
        moments = self._new()
        found = moments.state_dict()
        # Pilots are kept in float64, in which those of every narrower dtype are exact.
        found |= {"rows": int(state[1]), "resolution": float(state[2]), "pilots": found["sums"]}
        start = 3
        for name in (name for name in NAMES if name in found):
            like, size = found[name], found[name].numel()
            found[name] = state[start : start + size].view(like.shape).to(like.dtype)
            start += size
        moments.load_state_dict(found)
        return moments

    def _merge(self, rows: Tensor) -> Tensor:
        whole = self._unpack(rows[0])
        for row in rows[1:]:
            whole.merge(self._unpack(row))
        return self._pack(whole)
