"""Penalties on features of a batch: some pull toward collapse, some push against it.

Functions take features (samples, d) and labels (samples) and return the quantity under its own
name; modules return what is to be added to the loss, so quantities that are to grow come with a
minus. Pulling: `nc1_penalty`, `frame_penalty`, `duality_penalty`, each a metric of
`ncollapse.metrics` on the batch's statistics. Pushing: `coding_rate`, `rate_reduction`, `koleo`,
`variance_covariance`. All raise ValueError for features that are not finite or not (samples, d).
All are finite, with finite gradients, on every batch: 0, with gradient 0, where it cannot tell.
That is an empty one for all of them, fewer than two classes or class means that coincide (all zero,
all alike) for those that read means, one sample for `koleo` and `variance_covariance`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.control.batches import (
    apart,
    batch_fisher,
    batch_statistics,
    check_features,
    guarded,
    nothing,
    working,
    working_dtype,
)
from ncollapse.geometry import Geometry
from ncollapse.linalg import unit_rows
from ncollapse.metrics.catalog import METRICS

Scalar = Float[Tensor, ""]
Found = tuple[ClassStatistics, Geometry] | None
NC1 = ("nc1_ratio", "nc1_cdnv", "nc1_fisher", "nc1_vci")
FRAMES = {
    "simplex": "nc2_etf_means",
    "orthogonal": "nc2_orthogonal_means",
    "gof": "nc2_gof_means",
}


# ---- pull toward collapse -------------------------------------------------------------------
def nc1_penalty(
    features: Tensor,
    labels: Tensor,
    *,
    metric: str = "nc1_ratio",
    log: bool = False,
    floor: float = 1e-12,
) -> Scalar:
    """An NC1 metric r of the batch, tr Σ_W / tr Σ_B by default. Unitless, ≥ 0, ideal 0.

    log: log(r + floor) instead, whose pull does not fade until r falls below `floor`. A batch has
    few samples a class and reads NC1 low, by about K/n of itself. 0, with log too, where all class
    means coincide, and for nc1_cdnv where those of a pair do: between them no direction is better.
    Source: Papyan, Han, Donoho 2020 and the metric's.
    """
    if metric not in NC1:
        raise ValueError(f"metric={metric!r} is no penalty; one of {', '.join(NC1)} is needed")
    safe = guarded(features)
    value = batch_fisher(safe, labels) if metric == "nc1_fisher" else None
    if value is None:
        found = batch_statistics(safe, labels, full="full" in METRICS[metric].needs)
        if found is None or not _told_apart(found):
            return nothing(features)
        value = METRICS[metric].evaluate(statistics=found[0], geometry=found[1])
    value = value.to(working_dtype(features))
    return _finite((value + floor).log() if log else value, features)


def frame_penalty(features: Tensor, labels: Tensor, *, frame: str = "simplex") -> Scalar:
    """Distance of the batch's class means to a frame; simplex: ‖G/‖G‖_F - E‖_F, in [0, 2], ideal 0.

    frame: "simplex" (nc2_etf_means), "orthogonal" (nc2_orthogonal_means, of raw means) or "gof"
    (nc2_gof_means, lengths free). 0 where all class means coincide. Sources: Zhu et al. 2021, Zhou
    et al. 2022, Dang et al. 2023.
    """
    if frame not in FRAMES:
        raise ValueError(f"frame={frame!r} is unknown; one of {', '.join(FRAMES)} is needed")
    found = batch_statistics(guarded(features), labels, full=False)
    return _metric(FRAMES[frame], found, features)


def duality_penalty(features: Tensor, labels: Tensor, weight: Tensor) -> Scalar:
    """‖W/‖W‖_F - M/‖M‖_F‖_F over the classes in the batch (nc3_duality), in [0, 2], ideal 0.

    Pulls features and classifier toward each other; pass weight.detach() to move features alone. 0
    where all class means coincide, or the weight is zero. Source: Papyan, Han, Donoho 2020.
    """
    if not isinstance(weight, Tensor):
        raise ValueError(
            f"weight is a {type(weight).__name__}; a matrix (classes, dim) is needed, such as the "
            ".weight of the head"
        )
    if weight.shape[1] != features.shape[1]:
        raise ValueError(
            f"weight has {weight.shape[1]} features and the batch {features.shape[1]}; pass what "
            "enters the classifier"
        )
    found = batch_statistics(guarded(features), labels, guarded(weight), full=False)
    return _metric("nc3_duality", found, features)


def _metric(key: str, found: Found, features: Tensor) -> Tensor:
    if found is None or not _told_apart(found):
        return nothing(features)
    value = METRICS[key].evaluate(statistics=found[0], geometry=found[1])
    value = value.to(working_dtype(features))
    return _finite(value, features)


def _told_apart(found: Found) -> bool:
    return found is not None and found[1].means is not None and apart(found[1].means)


def _finite(value: Tensor, features: Tensor) -> Tensor:
    """The value; 0 with gradient 0 where it is infinite or not a number."""
    return torch.where(value.isfinite(), value, nothing(features))


# ---- push against collapse ------------------------------------------------------------------
def coding_rate(features: Tensor, *, epsilon: float = 0.5**0.5, normalize: bool = True) -> Scalar:
    """R = ½ log det(I + d/(n ε²) ZᵀZ) in nats: how much room the features take. ≥ 0.

    normalize: rows on the unit sphere first. The determinant is taken on the smaller side. 0 for a
    batch that is empty or zero. Source: Yu et al. 2020.
    """
    check_features(features)
    if features.shape[0] == 0:
        return nothing(features)
    features = guarded(features)
    with torch.autocast(features.device.type, enabled=False):
        rows = _rows(features, normalize)
        n, d = rows.shape
        gram = rows @ rows.T if n < d else rows.T @ rows
        size = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
        return _log_pivots(size + d / (n * epsilon**2) * gram).sum()


def rate_reduction(
    features: Tensor, labels: Tensor, *, epsilon: float = 0.5**0.5, normalize: bool = True
) -> Scalar:
    """ΔR = R - Σ_c n_c/n R(Z_c) in nats: the room all classes take over that of each. ≥ 0.

    Its maximum spreads every class over a subspace of its own: classes apart, but not collapsed.
    All classes share one factorisation of the Gram matrix with zeros between classes. Samples of a
    negative label (ignore_index) are left out; 0 where none is left, and for one class.
    Source: Yu et al. 2020.
    """
    check_features(features, labels)
    keep = labels >= 0
    if not bool(keep.all()):
        features, labels = features[keep], labels[keep]
    if features.shape[0] == 0:
        return nothing(features)
    features = guarded(features)
    with torch.autocast(features.device.type, enabled=False):
        rows = _rows(features, normalize)
        n, d = rows.shape
        same = labels[:, None] == labels
        counts = same.sum(1).to(rows.dtype)
        level = d / (counts * epsilon**2)
        root = level.sqrt()
        blocks = torch.where(same, rows @ rows.T, 0) * root[:, None] * root
        size = torch.eye(n, dtype=rows.dtype, device=rows.device)
        # Pivots of different classes do not meet, so each sample's belongs to its class alone.
        pivots = _log_pivots(size + blocks)
        return (
            coding_rate(features, epsilon=epsilon, normalize=normalize)
            - (counts / n * pivots).sum()
        )


def _log_pivots(matrix: Tensor) -> Tensor:
    """Logarithms of the Cholesky pivots. Raises ValueError where the matrix, 1 plus a Gram matrix,
    is so large that its dtype loses the 1."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed.any()):
        raise ValueError(
            f"the coding rate of this batch is beyond {str(matrix.dtype).removeprefix('torch.')}: "
            "pass normalize=True, a larger epsilon, or float64 features"
        )
    return factor.diagonal().log()


def koleo(features: Tensor) -> Scalar:
    """-(1/n) Σ_i log( min_{j≠i} ‖z_i - z_j‖ + 1e-8 ) of unit rows: small where samples keep apart.

    An estimate of minus the entropy on the sphere (Kozachenko & Leonenko 1987), up to constants.
    Source: Sablayrolles et al. 2019.
    """
    check_features(features)
    if features.shape[0] < 2:
        return nothing(features)
    features = guarded(features)
    with torch.autocast(features.device.type, enabled=False):
        unit = _rows(features, True)
        with torch.no_grad():
            nearest = (unit @ unit.T).fill_diagonal_(-2).argmax(1)
        gaps = torch.linalg.vector_norm(unit - unit[nearest], dim=1)
        return -(gaps + 1e-8).log().mean()


def variance_covariance(
    features: Tensor,
    *,
    target: float = 1.0,
    variance: float = 1.0,
    covariance: float = 1 / 25,
) -> Scalar:
    """variance · mean_j max(0, γ - σ_j) + covariance · (1/d) Σ_{i≠j} C_ij², ≥ 0.

    σ_j: standard deviation of feature j (n - 1, with 1e-4 added to the variance), γ = target, C the
    covariance of the batch: keeps every feature alive and features uncorrelated.
    Source: Bardes, Ponce, LeCun 2022.
    """
    check_features(features)
    n, d = features.shape
    if n < 2:
        return nothing(features)
    features = guarded(features)
    with torch.autocast(features.device.type, enabled=False):
        centred = working(features)
        centred = centred - centred.mean(0)
        spread = (centred * centred).sum(0) / (n - 1)
        gram = centred @ centred.T if n < d else centred.T @ centred
        off = (gram * gram).sum() / (n - 1) ** 2 - (spread * spread).sum()
        hinge = functional.relu(target - (spread + 1e-4).sqrt()).mean()
        return variance * hinge + covariance * off / d


def _rows(features: Tensor, normalize: bool) -> Tensor:
    wide = working(features)
    return unit_rows(wide) if normalize else wide


# ---- modules: what to add to a loss ---------------------------------------------------------
class NC1Penalty(nn.Module):
    """weight · nc1_penalty(features, labels): pulls features of a class together."""

    def __init__(
        self,
        weight: float = 1.0,
        *,
        metric: str = "nc1_ratio",
        log: bool = False,
        floor: float = 1e-12,
    ) -> None:
        super().__init__()
        self.weight, self.metric, self.log, self.floor = weight, metric, log, floor

    def forward(self, features: Tensor, labels: Tensor) -> Scalar:
        return self.weight * nc1_penalty(
            features, labels, metric=self.metric, log=self.log, floor=self.floor
        )


class FramePenalty(nn.Module):
    """weight · frame_penalty(features, labels): pulls class means to a frame."""

    def __init__(self, weight: float = 1.0, *, frame: str = "simplex"):
        super().__init__()
        self.weight, self.frame = weight, frame

    def forward(self, features: Tensor, labels: Tensor) -> Scalar:
        return self.weight * frame_penalty(features, labels, frame=self.frame)


class DualityPenalty(nn.Module):
    """weight · duality_penalty(features, labels, head_weight): features and head attract."""

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight

    def forward(
        self, features: Tensor, labels: Tensor, head_weight: Float[Tensor, "classes dim"]
    ) -> Scalar:
        return self.weight * duality_penalty(features, labels, head_weight)


class CodingRate(nn.Module):
    """-weight · coding_rate(features): pushes features to take more room. Labels are not read."""

    def __init__(
        self, weight: float = 1.0, *, epsilon: float = 0.5**0.5, normalize: bool = True
    ) -> None:
        super().__init__()
        self.weight, self.epsilon, self.normalize = weight, epsilon, normalize

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Scalar:
        rate = coding_rate(features, epsilon=self.epsilon, normalize=self.normalize)
        return -self.weight * rate


class RateReduction(nn.Module):
    """-weight · rate_reduction(features, labels): pushes classes apart and each of them wide."""

    def __init__(
        self, weight: float = 1.0, *, epsilon: float = 0.5**0.5, normalize: bool = True
    ) -> None:
        super().__init__()
        self.weight, self.epsilon, self.normalize = weight, epsilon, normalize

    def forward(self, features: Tensor, labels: Tensor) -> Scalar:
        gain = rate_reduction(features, labels, epsilon=self.epsilon, normalize=self.normalize)
        return -self.weight * gain


class KoLeo(nn.Module):
    """weight · koleo(features): pushes nearest neighbours apart. Labels are not read."""

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Scalar:
        return self.weight * koleo(features)


class VarianceCovariance(nn.Module):
    """weight · variance_covariance(features): keeps features alive and uncorrelated."""

    def __init__(
        self,
        weight: float = 1.0,
        *,
        target: float = 1.0,
        variance: float = 1.0,
        covariance: float = 1 / 25,
    ) -> None:
        super().__init__()
        self.weight, self.target = weight, target
        self.variance, self.covariance = variance, covariance

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Scalar:
        return self.weight * variance_covariance(
            features, target=self.target, variance=self.variance, covariance=self.covariance
        )
