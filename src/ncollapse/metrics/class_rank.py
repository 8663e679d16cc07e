"""Effective rank of single classes: in how many directions the samples of each still differ."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.collect.statistics.residuals import Residuals

# Of wider features so many samples a class at most are read: a Gram matrix of theirs is small.
MOST = 256


def effective_rank(rows: Float[Tensor, "samples dim"]) -> float:
    """exp(-Σ p log p), p the eigenvalues of the rows' covariance over their sum; in [1, min(n - 1,
    d)], 0 where the rows do not vary. n samples show n - 1 directions at most, and fewer samples
    read lower: compare it with itself, or at equal n. Source: Roy & Vetterli 2007, who take
    singular values, the roots (remembered, not read)."""
    wide = rows.detach().to(torch.float64)
    wide = wide - wide.mean(0)
    size = float(wide.abs().max()) if wide.numel() else 0.0
    if not size > 0:
        return 0.0
    wide = wide / size
    gram = wide @ wide.T if wide.shape[0] <= wide.shape[1] else wide.T @ wide
    values = torch.linalg.eigvalsh(gram).clamp_min(0)
    share = values / values.sum()
    share = share[share > 0]
    return math.exp(float(-(share * share.log()).sum()))


def class_ranks(residuals: Residuals) -> list[float | None]:
    """Effective rank of each class that is present, from the samples that were kept about its mean:
    all of them where features are no wider than 256, else 256 evenly chosen ones at most. None for
    fewer than two samples, and where a class does not vary. Residuals are exact near a collapse, so
    the rank does not depend on how deep it is."""
    rows, labels = residuals.result()
    present = (residuals.counts > 0).nonzero().flatten()
    ends = torch.searchsorted(labels, present, right=True).tolist()
    starts = torch.searchsorted(labels, present).tolist()
    found: list[float | None] = []
    for start, end in zip(starts, ends, strict=True):
        own = rows[start:end]
        if rows.shape[1] > MOST and len(own) > MOST:
            own = own[(torch.arange(MOST) * (len(own) / MOST)).long()]
        rank = effective_rank(own) if len(own) > 1 else 0.0
        found.append(rank or None)
    return found
