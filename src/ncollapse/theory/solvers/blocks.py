"""Matrices that treat equal classes equally: K² numbers held as g + g².

Classes of equal count, weight, scale and shift form a group. A convex problem that cannot tell the
classes of a group apart has a minimiser of the form

    A = ⊕_i α_i (I - 11ᵀ/m_i) + Σ_ij C_ij 1_i 1_jᵀ / √(m_i m_j)

with groups i of size m_i: a spread α_i inside each group and a core C (g, g) between groups. The
two parts act on orthogonal subspaces, so singular values and factors come from the core's alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Groups:
    """Which classes are interchangeable.

    index (K): group of each class. sizes (g): m_i. counts, weight, scale, shift (g): what the
    classes of a group share (scale and shift None where the loss has none).
    """

    index: Int[Array, " classes"]
    sizes: Float[Array, " groups"]
    counts: Float[Array, " groups"]
    weight: Float[Array, " groups"]
    scale: Float[Array, " groups"] | None = None
    shift: Float[Array, " groups"] | None = None

    @classmethod
    def of(
        cls,
        counts: Sequence[float] | Float[Array, " classes"],
        weight: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shift: Sequence[float] | None = None,
        *,
        merge: bool = True,
    ) -> Groups:
        """Groups of classes with equal entries, in ascending order; merge=False: one a class."""
        given = [counts, np.ones(len(counts)) if weight is None else weight]
        given += [extra for extra in (scale, shift) if extra is not None]
        keys = np.stack([np.asarray(column, dtype=np.float64) for column in given], axis=1)
        if merge:
            kinds, index, number = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        else:
            kinds, index, number = keys, np.arange(len(keys)), np.ones(len(keys), dtype=np.int64)
        columns = list(kinds.T.copy())
        return cls(
            index=np.asarray(index).reshape(-1).astype(np.int64),
            sizes=number.astype(np.float64),
            counts=columns[0],
            weight=columns[1],
            scale=columns[2] if scale is not None else None,
            shift=columns[-1] if shift is not None else None,
        )

    @property
    def number(self) -> int:
        """g."""
        return len(self.sizes)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.index)

    @cached_property
    def num_samples(self) -> float:
        """N."""
        return float(self.sizes @ self.counts)

    @cached_property
    def several(self) -> Array:
        """(g) bool: groups of two or more classes, those that have a spread."""
        return self.sizes > 1

    def members(self, group: int) -> Array:
        """Classes of a group, ascending."""
        return np.flatnonzero(self.index == group)


@dataclass(frozen=True, eq=False)
class BlockMatrix:
    """A of the module's head, from its spreads α (g) and core C (g, g).

    α of a group of one class has no meaning and is 0.
    """

    groups: Groups
    spread: Float[Array, " groups"]
    core: Float[Array, "groups groups"]

    @classmethod
    def project(cls, groups: Groups, dense: Float[Array, "classes classes"]) -> BlockMatrix:
        """The closest matrix of this form: the average over permutations within groups."""
        sums = np.zeros((groups.num_classes, groups.number))
        sums[np.arange(groups.num_classes), groups.index] = 1 / np.sqrt(groups.sizes[groups.index])
        core = sums.T @ dense @ sums
        trace = np.bincount(groups.index, weights=np.diag(dense), minlength=groups.number)
        rest = np.maximum(groups.sizes - 1, 1)
        spread = np.where(groups.several, (trace - np.diag(core)) / rest, 0.0)
        return cls(groups, spread, core)

    def dense(self) -> Float[Array, "classes classes"]:
        """A (K, K), classes in their given order."""
        groups = self.groups
        entries = self.core / np.sqrt(np.outer(groups.sizes, groups.sizes))
        inside = np.where(groups.several, self.spread, 0.0)
        entries[np.diag_indices(groups.number)] -= inside / groups.sizes
        full = entries[groups.index[:, None], groups.index]
        full[np.diag_indices(groups.num_classes)] += inside[groups.index]
        return full

    @cached_property
    def _core_svd(self) -> tuple[Array, Array, Array]:
        left, values, right = np.linalg.svd(self.core)
        return left, values, right.T

    def nuclear(self) -> float:
        """|A|_* = Σ_i (m_i - 1)|α_i| + |C|_*."""
        inside = float((self.groups.sizes - 1) @ np.abs(self.spread))
        return inside + float(self._core_svd[1].sum())

    def singular_values(self) -> Float[Array, " classes"]:
        """All K singular values, descending."""
        inside = np.repeat(np.abs(self.spread), (self.groups.sizes - 1).astype(int))
        return np.sort(np.concatenate([self._core_svd[1], inside]))[::-1]

    def factors(
        self, rank: int | None = None
    ) -> tuple[Float[Array, "classes rank"], Float[Array, " rank"], Float[Array, "classes rank"]]:
        """U (K, r), s (r) descending, V (K, r) with A = U diag(s) Vᵀ; all K, or the first r.

        No K × K decomposition: inside a group every orthonormal basis of 1⊥ serves.
        """
        groups = self.groups
        left, values, right = self._core_svd
        lift = 1 / np.sqrt(groups.sizes[groups.index])
        inside = np.repeat(np.abs(self.spread), (groups.sizes - 1).astype(int))
        every = np.concatenate([values, inside])
        order = np.argsort(-every, kind="stable")[:rank]
        place = np.full(len(every), -1)
        place[order] = np.arange(len(order))
        U = np.zeros((groups.num_classes, len(order)))
        V = np.zeros_like(U)
        kept = place[: groups.number] >= 0
        U[:, place[: groups.number][kept]] = (lift[:, None] * left[groups.index])[:, kept]
        V[:, place[: groups.number][kept]] = (lift[:, None] * right[groups.index])[:, kept]
        start = groups.number
        for group in np.flatnonzero(groups.several):
            size = int(groups.sizes[group])
            columns = place[start : start + size - 1]
            start += size - 1
            chosen = columns >= 0
            if not chosen.any():
                continue
            basis = complement_of_ones(size)[:, chosen]
            at = np.ix_(groups.members(int(group)), columns[chosen])
            U[at] = basis if self.spread[group] >= 0 else -basis
            V[at] = basis
        return U, every[order], V


def complement_of_ones(size: int) -> Float[Array, "size rest"]:
    """Orthonormal columns (m, m - 1) orthogonal to the ones vector.

    Columns of the reflection that takes the first unit vector to -1/√m: m² work, no decomposition.
    """
    direction = np.full(size, size**-0.5)
    direction[0] += 1
    scale = 2 / (direction @ direction)
    basis = -scale * np.outer(direction, direction[1:])
    basis[1:][np.diag_indices(size - 1)] += 1
    return basis
