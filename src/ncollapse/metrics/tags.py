"""Multi-label collapse: means of samples with several labels against sums of means with one.

m_k = μ_k - μ̄ are the means of samples with the single label k less their mean μ̄, μ_S is the mean of
samples with the set S of labels, and s_S = Σ_{k∈S} m_k. Pick-all-labels collapse is

    μ_S - μ̄ = C_m s_S     for every S of m labels (tag-wise average; Li et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ncollapse.pairs.rows import TINY


@dataclass(frozen=True, eq=False)
class Tags:
    """sets (M, K): labels of each set of at least two that occurs, and whose means sum to
    something. counts (M). means (M, d): μ_S - μ̄. sums (M, d): s_S."""

    sets: Bool[Tensor, "sets labels"]
    counts: Float[Tensor, " sets"]
    means: Float[Tensor, "sets dim"]
    sums: Float[Tensor, "sets dim"]

    @classmethod
    def of(
        cls,
        sets: Bool[Tensor, "sets labels"],
        counts: Tensor,
        means: Float[Tensor, "sets dim"],
        singles: Float[Tensor, "alone dim"],
        present: Tensor,
    ) -> Tags | None:
        """singles: means of the labels `present` alone. Sets with another label are left out; None
        where no set of two or more is left."""
        middle = singles.mean(0)
        centred = singles.new_zeros(sets.shape[1], singles.shape[1])
        centred[present] = singles - middle
        known = torch.zeros(sets.shape[1], dtype=torch.bool)
        known[present] = True
        sums = sets.to(centred.dtype) @ centred
        # All labels at once sum to nothing, which has no direction.
        scale = float(centred.norm(dim=1).max())
        kept = (sets.sum(1) > 1) & ~(sets & ~known).any(1) & (counts > 0)
        kept &= sums.norm(dim=1) > 1e-9 * scale
        if not bool(kept.any()):
            return None
        return cls(sets[kept], counts[kept].double(), means[kept] - middle, sums[kept])

    @property
    def sizes(self) -> Tensor:
        """m of every set."""
        return self.sets.sum(1)


def tag_cosine(tags: Tags) -> Float[Tensor, ""]:
    """Mean over sets of cos(μ_S - μ̄, s_S). In [-1, 1], ideal 1. Source: Li et al. 2024, who read
    angles."""
    return _cosines(tags.means, tags.sums).mean()


def tag_other(tags: Tags) -> Float[Tensor, ""]:
    """The same with the sums of other sets of as many labels, mean over all such pairs: what a mean
    reads that does not know which labels it has. NaN where no two sets have as many labels."""
    found = []
    for m in tags.sizes.unique():
        mine = tags.sizes == m
        means, sums = _unit(tags.means[mine]), _unit(tags.sums[mine])
        count = len(means)
        if count > 1:
            # Over pairs i ≠ j: the product of sums less the diagonal.
            total = means.sum(0) @ sums.sum(0) - (means * sums).sum()
            found.append((total / (count - 1), count))
    if not found:
        return tags.means.new_full((), torch.nan)
    return torch.stack([total for total, _ in found]).sum() / sum(count for _, count in found)


def tag_scale(tags: Tags, m: int) -> Float[Tensor, ""]:
    """C_m = Σ_S ⟨μ_S - μ̄, s_S⟩ / Σ_S ‖s_S‖² over the sets of m labels; 1 for m = 1 by construction.
    Raises ValueError where no set has m labels."""
    mine = tags.sizes == m
    if not bool(mine.any()):
        raise ValueError(f"no sample has {m} labels")
    return (tags.means[mine] * tags.sums[mine]).sum() / (tags.sums[mine] ** 2).sum()


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(TINY)


def _cosines(left: Tensor, right: Tensor) -> Tensor:
    return (_unit(left) * _unit(right)).sum(1)
