"""Deep unconstrained features: values of known solutions, thresholds, and how collapsed layers are.

A problem is `DeepReluUFM` (or `DeepLinearUFM` for `dnc_value`); `ncollapse.theory.solve` finds the
best solution that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ncollapse.theory.problems.deep import Deep
from ncollapse.theory.problems.deep_relu import DeepReluUFM, rectified
from ncollapse.theory.problems.point import class_means, within_class_share
from ncollapse.theory.solvers.deep_linear import best_frame
from ncollapse.theory.solvers.deep_points import rank_of, srg_point, value_at

SIDES = ("before", "after")


# ---- values -----------------------------------------------------------------------------------
def dnc_value(problem: Deep) -> float:
    """f of deep neural collapse with the best lengths, in closed form; ½ where it vanishes.

    Equal counts: min over u ≥ 0 of ½(1-u)² + (K(M+1)/2) (n λ_H Πλ u²)^{1/(M+1)}. Linear or ReLU.
    """
    return best_frame(problem).objective


def srg_value(problem: DeepReluUFM) -> float | None:
    """f of the low-rank construction with the best scale; None for K = 2 and widths below K.

    The construction is that of `theory.solvers.deep_points.srg_point`; a descent from it lowers f
    further. Source: Súkeník et al. 2024 (abstract read; construction and value derived).
    """
    point = srg_point(problem)
    return None if point is None else value_at(problem, point)


def dnc_threshold(num_classes: int, depth: int) -> float:
    """The n λ_H Πλ_l below which deep neural collapse beats zero, equal counts:
    (M-1)^(M-1) / (K^(M+1) M^(2M)), range (0, K^-2]. Derived.

    Raises ValueError for fewer than two classes or no matrix.
    """
    if num_classes < 2 or depth < 1:
        raise ValueError(
            f"num_classes={num_classes}, depth={depth}; at least 2 classes and 1 matrix are needed"
        )
    root: float = (depth - 1) ** (depth - 1) / depth ** (2 * depth)
    return root / float(num_classes) ** (depth + 1)


def k2_threshold(depth: int) -> float:
    """`dnc_threshold` for two classes, (M-1)^(M-1) / (2^(M+1) M^(2M)), above which zero is the only
    solution: Súkeník et al. 2023 (theorem remembered, not read; value derived and confirmed
    numerically to 2 %)."""
    return dnc_threshold(2, depth)


# ---- readings ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class DeepReading:
    """How collapsed one layer is, before its ReLU or after it.

    layer: 1 is what W_1 puts out. side: "before" or "after". dnc1: tr Σ_W / tr Σ_B, 0 where samples
    of a class share a feature, None where all class means agree. dnc2: ‖G/‖G‖ - S/‖S‖‖_F of the
    Gram matrix of centred class means against S = I - 11ᵀ/K, 0 at a simplex, range [0, 2]. dnc3:
    share of the centred rows of the next matrix that lies outside the span of the centred means,
    0 where rows lie within, range [0, 1], None before the ReLU. rank: of the class means.
    """

    layer: int
    side: str
    dnc1: float | None
    dnc2: float | None
    dnc3: float | None
    rank: int


def dnc_readings(
    weights: Sequence[Tensor], features: Tensor, counts: Sequence[int] | None = None
) -> list[DeepReading]:
    """DNC1 to DNC3 and ranks of every ReLU layer of W_M σ(W_{M-1} ⋯ σ(W_1 H)).

    weights: W_1 (d_1, d_0) to W_M (K, d_{M-1}), M ≥ 2. features: H, (N, d_0), samples ordered by
    class. counts: samples of each class, default one each. Two readings a layer, before and after
    its ReLU. Source: Garrod & Keating 2025, definition of deep neural collapse.
    Raises ValueError for fewer than two matrices, shapes that do not chain, counts that do not add
    up to N and numbers that are not finite.
    """
    sizes = _checked(weights, features, counts)
    parts = [part.detach().to(torch.float64) for part in weights]
    layers = rectified(parts[:-1], features.detach().to(torch.float64))
    found = []
    for number, sides in enumerate(layers, start=1):
        for side, rows in zip(SIDES, sides, strict=True):
            means = class_means(rows, sizes)
            centred = means - means.mean(0)
            outside = _outside(parts[number], centred) if side == "after" else None
            found.append(
                DeepReading(
                    number,
                    side,
                    within_class_share(rows, sizes),
                    _from_simplex(centred),
                    outside,
                    rank_of(means),
                )
            )
    return found


def _from_simplex(centred: Tensor) -> float | None:
    gram = centred @ centred.T
    size = float(gram.norm())
    if size <= 1e-24:
        return None
    simplex = torch.eye(len(gram), dtype=gram.dtype) - 1 / len(gram)
    return float((gram / size - simplex / simplex.norm()).norm())


def _outside(weight: Tensor, centred: Tensor) -> float | None:
    rows = weight - weight.mean(0)
    whole = float(rows.square().sum())
    if whole <= 1e-24:
        return None
    _, values, axes = torch.linalg.svd(centred, full_matrices=False)
    span = axes[values > 1e-6 * values[0]] if float(values[0]) > 1e-12 else axes[:0]
    return max(1 - float((rows @ span.T).square().sum()) / whole, 0.0)


def _checked(
    weights: Sequence[Tensor], features: Tensor, counts: Sequence[int] | None
) -> tuple[int, ...]:
    if len(weights) < 2:
        raise ValueError(f"{len(weights)} matrix was passed; at least two, with a ReLU between")
    widths = [features.shape[-1]]
    for number, weight in enumerate(weights, start=1):
        if features.ndim != 2 or weight.ndim != 2 or weight.shape[1] != widths[-1]:
            raise ValueError(
                f"W_{number} has shape {tuple(weight.shape)} and {widths[-1]} numbers enter it; "
                f"(rows, {widths[-1]}) is needed"
            )
        widths.append(weight.shape[0])
    sizes = (1,) * len(features) if counts is None else tuple(int(count) for count in counts)
    if len(sizes) < 2 or min(sizes) < 1 or sum(sizes) != len(features):
        raise ValueError(
            f"counts={list(sizes[:8])} for {len(features)} rows of features; positive counts of at "
            "least two classes that add up to the rows are needed"
        )
    if not all(bool(part.isfinite().all()) for part in (features, *weights)):
        raise ValueError("weights or features hold NaN or infinite numbers; finite ones are needed")
    return sizes
