"""Labelled samples on straight lines: means and residuals interpolate alike, and so do readings.

Along h_t = (1-t) h_0 + t h_L class means are M_t = (1-t) M_0 + t M_L and within-class residuals
Z_t = (1-t) Z_0 + t Z_L; where h_L is exactly collapsed, Z_L = 0 and readings have a closed form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.linalg import EPSILON, in_complement, out_of_complement
from ncollapse.metrics.nc2 import nc2_etf

METRICS = ("pfc1", "pfc2", "pfc3", "ratio")
Series = tuple[float, ...]
# Samples whose distances to all centres are held at once.
BLOCK = 8192


@dataclass(frozen=True, eq=False)
class Split:
    """A layer as class means (K, d) and what samples differ from theirs by (N, d), in float64."""

    means: Float[Tensor, "classes dim"]
    rest: Float[Tensor, "samples dim"]
    labels: Int[Tensor, " samples"]

    @classmethod
    def of(cls, features: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"]) -> Split:
        """Means of labels 0..K-1, every class present; two passes, so that collapse stays exact."""
        rows = features.detach().to(device="cpu", dtype=torch.float64)
        counts = torch.bincount(labels).to(torch.float64)[:, None]
        pilot = rows[0]

        def averaged(values: Tensor) -> Tensor:
            return values.new_zeros(len(counts), values.shape[1]).index_add_(0, labels, values)

        means = pilot + averaged(rows - pilot) / counts
        rest = rows - means[labels]
        drift = averaged(rest) / counts
        return cls(means + drift, rest - drift[labels], labels)

    def between(self, other: Split, time: float) -> Split:
        """The layer at `time` on the line from this one to `other`: both parts interpolate."""
        return Split(
            torch.lerp(self.means, other.means, time),
            torch.lerp(self.rest, other.rest, time),
            self.labels,
        )

    def readings(self) -> dict[str, float]:
        """pfc1, pfc2, pfc3 and ratio; nan where class means coincide."""
        weights = 1 / torch.bincount(self.labels).to(torch.float64)
        weights = weights[self.labels] / len(weights)
        geometry = Geometry.from_means(self.means)
        between = float((geometry.centred_means**2).sum()) / geometry.num_classes
        if not between > 0:
            return dict.fromkeys(METRICS, math.nan) | {"pfc3": self._wrong()}
        # ‖Pᵀz‖² summed over samples: no matrix of d × d, however wide the layer.
        seen = self.rest @ geometry.between.pinv
        return {
            "pfc1": float(weights @ (seen**2).sum(1)) / geometry.num_classes,
            "pfc2": float(nc2_etf(geometry)),
            "pfc3": self._wrong(),
            "ratio": float(weights @ (self.rest**2).sum(1)) / between,
        }

    def _wrong(self) -> float:
        """Share nearer to another mean: ‖z + μ_y - μ_k‖² < ‖z‖², without a difference of norms."""
        gaps = torch.cdist(
            self.means, self.means, compute_mode="donot_use_mm_for_euclid_dist"
        ).square()
        centred = self.means - self.means.mean(0)
        wrong = 0
        for start in range(0, len(self.rest), BLOCK):
            own = self.labels[start : start + BLOCK]
            along = self.rest[start : start + BLOCK] @ centred.T
            closer = gaps[own] + 2 * (along.gather(1, own[:, None]) - along) < 0
            wrong += int(closer.any(1).sum())
        return wrong / len(self.rest)


def toward_collapse(
    features: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    means: Float[Tensor, "classes dim"],
    times: Sequence[float],
) -> dict[str, Series]:
    """Closed form of pfc1, pfc2 and ratio on the line from `features` to their collapse onto
    `means` (K, d), at each of `times`. Returns a series by metric.

    With G_t = M_t M_tᵀ of centred means, M_t = (1-t) M_0 + t M_L, and Q_t the mean (classes
    weighed alike) of (M_t z)(M_t z)ᵀ over within-class residuals z of the features:
    pfc1 = (1-t)² tr(G_t⁺ Q_t G_t⁺), pfc2 = ‖G_t/‖G_t‖_F - E‖_F, ratio = (1-t)² K tr Σ_W/tr G_t.
    G_t and Q_t are quadratic in t, so after one pass only K × K matrices are left; pfc1 and ratio
    end at 0. Where C + Cᵀ, C = M_0 M_Lᵀ, is positive semi-definite, ratio never rises on the
    way; for `aligned_simplex` of K means that span K - 1 directions, neither does pfc1.
    Squares the condition of the means: for ones that nearly coincide, measure directly. Raises
    ValueError for shapes or labels that do not fit. Source: derived.
    """
    classes = checked([features], labels)
    start = Split.of(features, classes)
    if means.shape != start.means.shape:
        raise ValueError(
            f"means have shape {tuple(means.shape)}; {tuple(start.means.shape)}, one mean for "
            "each class of the labels at the width of the features, is needed"
        )
    K, rank = len(start.means), min(len(start.means) - 1, start.means.shape[1])
    ends = [M - M.mean(0) for M in (start.means, double(means))]
    weights = 1 / torch.bincount(classes).to(torch.float64)[classes] / K
    seen = [start.rest @ M.T for M in ends]
    grams = [[A @ B.T for B in ends] for A in ends]
    spreads = [[a.T @ (weights[:, None] * b) for b in seen] for a in seen]
    within = float(weights @ (start.rest**2).sum(1))
    found = []
    for time in times:
        share = (1 - time, time)

        def at(parts: list[list[Tensor]], share: tuple[float, float] = share) -> Tensor:
            return torch.stack(
                [share[i] * share[j] * parts[i][j] for i in (0, 1) for j in (0, 1)]
            ).sum(0)

        gram = at(grams)
        values, vectors = torch.linalg.eigh(gram)
        kept = values[-rank:] > K * EPSILON * values[-1]
        V, s = vectors[:, -rank:][:, kept], values[-rank:][kept]
        inside = (V.T @ at(spreads) @ V).diagonal() / s**2
        found.append(
            {
                "pfc1": (1 - time) ** 2 * float(inside.sum()),
                "pfc2": float(torch.linalg.matrix_norm(gram / gram.norm() - _simplex(K))),
                "ratio": (1 - time) ** 2 * K * within / float(gram.trace()),
            }
        )
    return {name: tuple(row[name] for row in found) for name in ("pfc1", "pfc2", "ratio")}


def aligned_simplex(
    means: Float[Tensor, "classes dim"], scale: float = 1.0
) -> Float[Tensor, "classes dim"]:
    """The simplex frame (K, d), centred, nearest in direction to the centred `means`: rows of norm
    scale · ‖M‖_F/√K, turned by the orthogonal Procrustes solution.

    M Eᵀ is then positive semi-definite. Raises ValueError for d < K - 1.
    """
    K, width = means.shape
    if width < K - 1:
        raise ValueError(
            f"{width} features cannot hold a simplex of {K} classes; at least {K - 1} are needed"
        )
    unit = torch.full((K,), K**-0.5, dtype=torch.float64)
    contrasts = out_of_complement(unit, double(means))
    U, values, V = torch.linalg.svd(contrasts, full_matrices=False)
    frame = in_complement(unit, U @ V)
    return scale * torch.linalg.vector_norm(values) / (K - 1) ** 0.5 * frame


def _simplex(K: int) -> Tensor:
    return (torch.eye(K, dtype=torch.float64) - 1 / K) / (K - 1) ** 0.5


def checked(path: Sequence[Tensor], labels: Tensor) -> Int[Tensor, " samples"]:
    """Labels as 0..K-1 of the classes present, all inputs looked at."""
    for number, layer in enumerate(path):
        if layer.dim() != 2:
            raise ValueError(
                f"layer {number} has shape {tuple(layer.shape)}; (samples, features) is needed, "
                "so pool it first"
            )
        if layer.shape[1] != path[0].shape[1]:
            raise ValueError(
                f"no geodesic between layers of {path[0].shape[1]} and {layer.shape[1]} features; "
                "give layers of one width"
            )
        if layer.shape[0] != path[0].shape[0]:
            raise ValueError(
                f"layer {number} has {layer.shape[0]} samples and layer 0 has "
                f"{path[0].shape[0]}; the same samples in the same order are needed"
            )
        if not bool(torch.isfinite(layer).all()):
            raise ValueError(f"layer {number} has NaN or infinite features; finite ones are needed")
    if labels.shape != (path[0].shape[0],) or labels.is_floating_point():
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} and type {labels.dtype}; one whole number a "
            f"sample ({path[0].shape[0]}) is needed"
        )
    present, classes = torch.unique(labels.detach().cpu(), return_inverse=True)
    if len(present) < 2 or int(present[0]) < 0:
        raise ValueError(
            f"labels run from {present.min().item() if len(present) else 'none'} over "
            f"{len(present)} classes; numbers ≥ 0 of at least two classes are needed"
        )
    return classes


def double(values: Tensor) -> Tensor:
    return values.detach().to(device="cpu", dtype=torch.float64)
