"""What a stream of labelled features amounts to: a frozen value that every metric reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.linalg import EPSILON


@dataclass(frozen=True, eq=False)
class Sketch:
    """A Gaussian sketch R (m, d) and the micro within-class scatter of Rh."""

    matrix: Float[Tensor, "sketch dim"]
    within: Float[Tensor, "sketch sketch"]


@dataclass(frozen=True, eq=False)
class Span:
    """Σ_W where the class means differ: UᵀΣ_WU (r, r) in both weightings, U = basis (d, r)."""

    basis: Float[Tensor, "dim rank"]
    macro: Float[Tensor, "rank rank"]
    micro: Float[Tensor, "rank rank"]


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Counts, within-class traces and scatter of the K classes that are present, in float64.

    counts: n_c. traces: v_c = (1/n_c) Σ ‖h - μ_c‖² (never n_c - 1). macro, micro: Σ_W (d, d) with
    classes weighed alike or by count, None where the accumulator did not keep it. span: what of it
    stands in for it where features are too wide for a matrix. resolution:
    relative precision of the scatter (float32 products: 1.2e-7; float32 features: 1.4e-14).
    present: numbers of the classes.
    """

    counts: Int[Tensor, " classes"]
    traces: Float[Tensor, " classes"]
    macro: Float[Tensor, "dim dim"] | None = None
    micro: Float[Tensor, "dim dim"] | None = None
    sketch: Sketch | None = None
    resolution: float = EPSILON
    present: Int[Tensor, " classes"] | None = None
    span: Span | None = None

    @property
    def num_classes(self) -> int:
        return int(self.counts.numel())

    @property
    def num_samples(self) -> int:
        return int(self.counts.sum())

    def class_weights(self, weighting: str) -> Float[Tensor, " classes"]:
        """1/K (macro) or n_c/N (micro), summing to one."""
        counts = self.counts.to(torch.float64)
        if weighting == "macro":
            return torch.full_like(counts, 1 / counts.numel())
        if weighting == "micro":
            return counts / counts.sum()
        raise ValueError(f"weighting {weighting!r} is unknown; macro or micro is needed")

    def scatter(self, weighting: str) -> Tensor | None:
        """Σ_W under `weighting`."""
        return self.macro if weighting == "macro" else self.micro

    def within_trace(self, weighting: str) -> Float[Tensor, ""]:
        """tr Σ_W, always known: from the per-class traces."""
        return (self.class_weights(weighting) * self.traces).sum()

    @property
    def unbiased_spreads(self) -> Float[Tensor, " classes"]:
        """s_c = n_c v_c/(n_c - 1), unbiased for tr Σ_c; a class of one borrows the pooled one."""
        counts = self.counts.to(torch.float64)
        pooled = (counts * self.traces).sum() / (counts.sum() - counts.numel()).clamp_min(1)
        own = self.traces * counts / (counts - 1).clamp_min(1)
        return torch.where(counts > 1, own, pooled)

    def select(self, index: Int[Tensor, " kept"]) -> ClassStatistics:
        """Statistics of some classes; the scatter stays that of all (used for resampling)."""
        present = None if self.present is None else self.present[index]
        return replace(self, counts=self.counts[index], traces=self.traces[index], present=present)


def between_factor(
    geometry: Geometry, weights: Tensor, centre_weights: Tensor
) -> Float[Tensor, "classes dim"]:
    """A with Σ_B = AᵀA: rows √w_c (μ_c - Σ v_j μ_j), v = `centre_weights`."""
    means = geometry.means
    if means is None:
        raise ValueError("this geometry holds no class means; a between-class scatter needs them")
    return (means - centre_weights @ means) * weights.sqrt()[:, None]
