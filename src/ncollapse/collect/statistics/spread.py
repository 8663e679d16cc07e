"""FeatureSpread: how much every feature varies over all samples, whatever their class.

Beside class means, counts and traces (`ClassMoments`, mode trace) it is all that variance shares
need: per feature the total sum of squares, about a common point near the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.checks import NonFiniteError
from ncollapse.collect.statistics.protocol import Batch, Tensors

SUMS = ("count", "sums", "squares")
# Numbers of a piece in float64: 2 MB, which stay in a cache.
PIECE = 1 << 18


@dataclass(frozen=True, eq=False)
class Totals:
    """N samples: their mean (d) and Σ (h - h̄)² per feature (d), float64."""

    count: int
    mean: Float[Tensor, " dim"]
    squares: Float[Tensor, " dim"]


class FeatureSpread:
    """N, Σ (h - p) and Σ (h - p)² per feature about a point p, the first sample. `ignore_index` is
    skipped. Raises ValueError for features that are not finite."""

    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels"})

    def __init__(self, num_features: int, ignore_index: int | None = -100) -> None:
        self.num_features, self.ignore_index = num_features, ignore_index
        self.pilot = torch.zeros(num_features, dtype=torch.float64)
        self.count = torch.zeros((), dtype=torch.float64)
        self.sums = torch.zeros(num_features, dtype=torch.float64)
        self.squares = torch.zeros(num_features, dtype=torch.float64)

    def take(self, batch: Batch) -> None:
        self.update(batch.features, batch.labels, batch.rows)

    @torch.no_grad()
    def update(
        self,
        features: Float[Tensor, "samples dim"],
        labels: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> None:
        """Add samples, those of `ignore_index` left out. rows: their numbers, for messages."""
        if labels is not None and self.ignore_index is not None:
            mine = labels != self.ignore_index
            if not bool(mine.all()):
                features, rows = features[mine], None if rows is None else rows[mine]
        size = max(PIECE // self.num_features, 1)
        for start in range(0, len(features), size):
            part = features[start : start + size].to("cpu", torch.float64, copy=True)
            if not bool(self.count > 0):
                self.pilot = part[0].clone()
            part -= self.pilot
            squares = torch.linalg.vector_norm(part, dim=0) ** 2
            if not bool(squares.isfinite().all()):
                bad = (~part.isfinite().all(1)).nonzero()
                place = start + (int(bad[0]) if bad.numel() else 0)
                raise NonFiniteError(place if rows is None else int(rows[place]))
            self.count += len(part)
            self.sums += part.sum(0)
            self.squares += squares

    def merge(self, other: FeatureSpread) -> FeatureSpread:
        """Add the samples of `other`, moved to this one's point."""
        if not bool(other.count > 0):
            return self
        if not bool(self.count > 0):
            self.pilot = other.pilot.clone()
        for name, value in other._about(self.pilot).items():
            getattr(self, name).add_(value)
        return self

    def _about(self, point: Tensor) -> dict[str, Tensor]:
        """The sums about another point: z' = z + t."""
        if not bool(self.count > 0):
            return {name: getattr(self, name) for name in SUMS}
        t = self.pilot - point
        return {
            "count": self.count,
            "sums": self.sums + self.count * t,
            "squares": self.squares + 2 * self.sums * t + self.count * t**2,
        }

    # ---- many processes -----------------------------------------------------------------------
    @property
    def identity(self) -> str:
        return f"feature spread {self.num_features} {self.ignore_index}"

    def flush(self) -> None:
        """Nothing waits."""

    def centres(self) -> dict[str, Tensor]:
        return {"count": self.count, "total": self.sums + self.count * self.pilot}

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return self._about(_mean(centres))

    def minima(self) -> dict[str, Tensor]:
        return {}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        self.pilot = _mean(centres)
        for name in SUMS:
            setattr(self, name, summed[name].clone())

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).clone() for name in (*SUMS, "pilot")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in (*SUMS, "pilot"):
            setattr(self, name, state[name].clone())

    @property
    def state_bytes(self) -> int:
        return 8 * (3 * self.num_features + 1)

    def result(self) -> Totals:
        """Raises ValueError where there is no sample."""
        if not bool(self.count > 0):
            raise ValueError("no sample was taken in; the spread of features needs at least one")
        shift = self.sums / self.count
        spread = (self.squares - self.sums * shift).clamp_min(0)
        return Totals(int(self.count), self.pilot + shift, spread)


def _mean(centres: Tensors) -> Tensor:
    return centres["total"] / centres["count"].clamp_min(1)
