"""Cosines between the rows of a matrix, and how close two matrices are in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def cosines(rows: Tensor) -> Tensor:
    """Pairwise cosines (K, K) of rows (K, d); rows of length zero have cosine 0."""
    unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30)
    return unit @ unit.T


def pairs(square: Tensor) -> Tensor:
    """The entries above the diagonal, as one vector."""
    upper = torch.triu_indices(square.shape[0], square.shape[1], offset=1)
    return square[upper[0], upper[1]]


def block_means(square: Tensor, majority: int) -> tuple[float, float, float]:
    """Mean off-diagonal entries within the first `majority` classes, across, within the rest."""
    return (
        float(pairs(square[:majority, :majority]).mean()),
        float(square[:majority, majority:].mean()),
        float(pairs(square[majority:, majority:]).mean()),
    )


def apart(square: Tensor, sizes: Sequence[int]) -> float:
    """Largest distance of an off-diagonal entry to the mean of those of its block, where classes
    stand in groups of these sizes."""
    off = ~torch.eye(square.shape[0], dtype=torch.bool)
    worst = 0.0
    for rows, kept in zip(square.split(list(sizes)), off.split(list(sizes)), strict=True):
        parts = zip(rows.split(list(sizes), 1), kept.split(list(sizes), 1), strict=True)
        for block in (part[mask] for part, mask in parts):
            if block.numel():
                worst = max(worst, float((block - block.mean()).abs().max()))
    return worst


def frame_gap(rows: Tensor, centred: bool) -> float:
    """‖G/‖G‖_F - E/‖E‖_F‖_F of the Gram matrix of K rows; E of the orthogonal frame is I, centred
    that of the simplex, I - 11ᵀ/K."""
    size = rows.shape[0]
    eye = torch.eye(size, dtype=torch.float64)
    ideal = (eye - 1 / size) / math.sqrt(size - 1) if centred else eye / math.sqrt(size)
    gram = rows @ rows.T
    return float((gram / gram.norm() - ideal).norm())


def filled(means: tuple[float, float, float], majority: int, size: int) -> Tensor:
    """The square matrix of block means."""
    first = torch.arange(size) < majority
    same, across = first[:, None] & first[None, :], first[:, None] != first[None, :]
    found = torch.full((size, size), means[2], dtype=torch.float64)
    found[same], found[across] = means[0], means[1]
    return found


def closeness(measured: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Of the cosines of two weights: the mean |difference| over pairs, and the root mean square
    distance of the measured ones to the simplex over that to the wanted ones."""
    found, aim = pairs(cosines(measured)), pairs(cosines(wanted))
    simplex = torch.full_like(found, -1 / (measured.shape[0] - 1))
    ratio = (found - simplex).norm() / (found - aim).norm().clamp_min(1e-30)
    return float((found - aim).abs().mean()), float(ratio)
