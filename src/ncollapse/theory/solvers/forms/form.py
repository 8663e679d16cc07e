"""Losses on groups of equal classes: value, gradient, curvature and conjugate.

For a sample of group j: `own[j]` is the logit of its class and `others[i, j]` that of any other
class of group i, which occurs `copies[i, j]` times (m_i, or m_j - 1 inside its own group).
Gradients by `others` are summed over the copies. Class weights are not applied here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ncollapse.theory.solvers.blocks import Groups

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Curvature:
    """Second derivative by a sample's logits: diag(own, others) + Σ_t factor_t v_t v_tᵀ.

    own (g) and others (g, g) hold the diagonal, others summed over copies; every term is a factor
    (g) with the entries of v: own (g), others (g, g) summed over copies.
    """

    own: Array
    others: Array
    terms: tuple[tuple[Array, Array, Array], ...] = ()

    def product(self, own: Array, others: Array) -> tuple[Array, Array]:
        """Its product with a direction in logits, others summed over copies."""
        out_own, out_others = self.own * own, self.others * others
        for factor, v_own, v_others in self.terms:
            along = factor * (v_own * own + (v_others * others).sum(0))
            out_own = out_own + along * v_own
            out_others = out_others + along * v_others
        return out_own, out_others

    def of_bias(self, mass: Array) -> Array:
        """(g, g): second derivative of Σ_j mass_j ℓ_j by one bias a group, shared in the group."""
        total = np.diag(self.others @ mass + self.own * mass)
        for factor, v_own, v_others in self.terms:
            v = v_others + np.diag(v_own)
            total += (v * (factor * mass)) @ v.T
        return total


@runtime_checkable
class GroupedLoss(Protocol):
    """What solvers ask of a loss; a form derives from it, and defaults hold for convex losses.

    copies (g, g). simplex: whether a dual point is y + δ⁻¹q in the simplex (else the dual is the
    whole space); the target y is then `hit` for the own class and `rest` for every other.
    absolute: whether a difference of values means the same whatever the values are; losses are
    compared in shares of them.
    """

    copies: Array
    simplex: bool = False
    absolute: bool = False
    hit: float = 1.0
    rest: float = 0.0

    def value(self, own: Array, others: Array) -> Array: ...

    def gradient(self, own: Array, others: Array) -> tuple[Array, Array, Array]:
        """Value (g), gradient by own (g), gradient by others (g, g)."""
        ...

    def curvature(self, own: Array, others: Array) -> Curvature: ...

    def conjugate(self, own: Array, others: Array) -> Array:
        """sup_z q·z - ℓ(z) for q = (own, others), others summed over copies; inf outside."""
        ...

    def largest_curvature(self) -> float: ...

    def sample_gradients(self, logits: Array, labels: Array) -> Array:
        """(n, K): of samples one by one, where every class is a group of its own."""
        ...

    def exact(self, own: Array, others: Array) -> Array:
        """The loss itself where `value` is its convex envelope."""
        return self.value(own, others)

    def order_gradient(self, own: Array, others: Array) -> tuple[Array, Array]:
        """Gradient, by own and by others, of a convex function that the loss increases with."""
        return self.gradient(own, others)[1:]

    def lowered(self, own: Array, others: Array, fall: Array) -> Array:
        """The loss where that function lies lower by `fall`."""
        return self.exact(own, others) - fall


def gap_to_others(copies: Array, own: Array, others: Array) -> tuple[Array, Array]:
    """s = log Σ_{c≠y} e^{z_c} - z_y (g) and the shares of the other classes in that sum, summed
    over copies (g, g)."""
    seen = np.where(copies > 0, others, -np.inf)
    top = seen.max(0)
    share = copies * np.exp(np.minimum(others - top, 0.0))
    total = share.sum(0)
    return np.log(total) + top - own, share / total


def copies(groups: Groups) -> Array:
    """(g, g): how many other classes of group i a sample of group j sees."""
    found = np.repeat(groups.sizes[:, None], groups.number, axis=1)
    found[np.diag_indices(groups.number)] -= 1
    return found
