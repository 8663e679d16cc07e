"""TargetMoments: means and second moments of features and of the numbers that they should give.

One pass, in float64, of differences to the first sample seen: where features lie close together far
from the origin, moments about the origin would cancel. Parts are moved to one point and added, so
merging is exact in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.checks import NonFiniteError
from ncollapse.collect.statistics.protocol import Batch, Tensors
from ncollapse.linalg import add_symmetric, mirrored

SUMS = ("count", "sums", "squares", "cross", "products")


@dataclass(frozen=True, eq=False)
class TargetSummary:
    """Moments of N samples h (d) with targets y (n), divided by N; float64.

    count: N. mean (d), target_mean (n). variance: tr Σ_h. covariance: Σ_h (d, d), None where only
    traces are kept. cross (d, n): mean of (h - h̄)(y - ȳ)ᵀ. target_covariance: Σ (n, n). smallest:
    the least entry of any feature.
    """

    count: int
    mean: Float[Tensor, " dim"]
    target_mean: Float[Tensor, " targets"]
    variance: float
    covariance: Float[Tensor, "dim dim"] | None
    cross: Float[Tensor, "dim targets"]
    target_covariance: Float[Tensor, "targets targets"]
    smallest: float


class TargetMoments:
    """Sums over samples x = (h, y) about a common point: N, Σx, Σh², Σ x yᵀ and, in mode full,
    Σ h hᵀ. Raises ValueError for features that are not finite."""

    needs: ClassVar[frozenset[str]] = frozenset({"features", "targets"})

    def __init__(self, num_features: int, num_targets: int, mode: str = "full") -> None:
        self.num_features, self.num_targets, self.mode = num_features, num_targets, mode
        d, n = num_features, num_targets
        self.pilot: Tensor | None = None
        self.count = torch.zeros((), dtype=torch.float64)
        self.sums = torch.zeros(d + n, dtype=torch.float64)
        self.squares = torch.zeros(d, dtype=torch.float64)
        self.cross = torch.zeros(d + n, n, dtype=torch.float64)
        # Lower triangle; empty where only traces are kept.
        size = d if mode == "full" else 0
        self.products = torch.zeros(size, size, dtype=torch.float64)
        self.smallest = torch.tensor(torch.inf, dtype=torch.float64)

    @staticmethod
    def estimate(num_features: int, num_targets: int, mode: str = "full") -> int:
        """Bytes of the state."""
        d, n = num_features, num_targets
        return 8 * (3 * (d + n) + (d + n) * n + (d * d if mode == "full" else 0))

    @property
    def state_bytes(self) -> int:
        return self.estimate(self.num_features, self.num_targets, self.mode)

    def take(self, batch: Batch) -> None:
        assert batch.targets is not None
        self.update(batch.features, batch.targets, batch.rows)

    @torch.no_grad()
    def update(
        self,
        features: Float[Tensor, "samples dim"],
        targets: Float[Tensor, "samples targets"],
        rows: Tensor | None = None,
    ) -> None:
        """Add samples. rows: their numbers, for messages."""
        if features.shape[0] == 0:
            return
        bad = (~features.isfinite().all(1)).nonzero()
        if bad.numel():
            place = int(bad[0])
            raise NonFiniteError(place if rows is None else int(rows[place]))
        whole = torch.cat([features.to(torch.float64), targets.to(torch.float64)], 1)
        if self.pilot is None:
            self.pilot = whole[0].clone()
        d = self.num_features
        self.smallest = torch.minimum(self.smallest, whole[:, :d].min())
        whole -= self.pilot
        inner = whole[:, :d]
        self.count += whole.shape[0]
        self.sums += whole.sum(0)
        self.squares += (inner**2).sum(0)
        self.cross += whole.T @ whole[:, d:]
        if self.mode == "full":
            add_symmetric(self.products, inner)

    def merge(self, other: TargetMoments) -> TargetMoments:
        """Add the samples of `other`, moved to this one's point."""
        if other.pilot is None:
            return self
        if self.pilot is None:
            self.pilot = other.pilot.clone()
        for name, value in other._about(self.pilot).items():
            getattr(self, name).add_(value)
        self.smallest = torch.minimum(self.smallest, other.smallest)
        return self

    def _about(self, point: Tensor) -> dict[str, Tensor]:
        """The sums of samples about another point: z' = z + t."""
        if self.pilot is None:
            return {name: getattr(self, name) for name in SUMS}
        d = self.num_features
        t, s, count = self.pilot - point, self.sums, self.count
        outer = torch.outer(s, t) + torch.outer(t, s) + count * torch.outer(t, t)
        full = self.mode == "full"
        products = self.products
        if full:
            products = mirrored(products.clone()) + outer[:d, :d]
        return {
            "count": count,
            "sums": s + count * t,
            "squares": self.squares + 2 * (s * t)[:d] + count * t[:d] ** 2,
            "cross": self.cross + outer[:, d:],
            "products": products,
        }

    # ---- many processes -----------------------------------------------------------------------
    @property
    def identity(self) -> str:
        return f"target moments {self.num_features} {self.num_targets} {self.mode}"

    def flush(self) -> None:
        """Nothing waits."""

    def centres(self) -> dict[str, Tensor]:
        total = self.sums if self.pilot is None else self.sums + self.count * self.pilot
        return {"count": self.count, "total": total}

    def summands(self, centres: Tensors) -> dict[str, Tensor]:
        return self._about(_mean(centres))

    def minima(self) -> dict[str, Tensor]:
        return {"smallest": self.smallest}

    def load(self, centres: Tensors, summed: Tensors, minima: Tensors) -> None:
        self.pilot = _mean(centres)
        for name in SUMS:
            setattr(self, name, summed[name].clone())
        self.smallest = minima["smallest"].clone()

    def state_dict(self) -> dict[str, Any]:
        held = {name: getattr(self, name).clone() for name in (*SUMS, "smallest")}
        return held if self.pilot is None else held | {"pilot": self.pilot.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in (*SUMS, "smallest"):
            setattr(self, name, state[name].clone())
        self.pilot = state["pilot"].clone() if "pilot" in state else None

    def result(self) -> TargetSummary:
        """Raises ValueError where there is no sample."""
        if self.pilot is None or not bool(self.count > 0):
            raise ValueError("no sample was taken in; moments need at least one")
        d, count = self.num_features, self.count
        shift = self.sums / count
        point = self.pilot + shift
        cross = self.cross / count - torch.outer(shift, shift[d:])
        spread = (self.squares / count - shift[:d] ** 2).clamp_min(0)
        covariance = None
        if self.mode == "full":
            covariance = mirrored(self.products.clone()) / count
            covariance -= torch.outer(shift[:d], shift[:d])
        return TargetSummary(
            int(count),
            point[:d],
            point[d:],
            float(spread.sum()),
            covariance,
            cross[:d],
            (cross[d:] + cross[d:].T) / 2,
            float(self.smallest),
        )


def _mean(centres: Tensors) -> Tensor:
    return centres["total"] / centres["count"].clamp_min(1)
