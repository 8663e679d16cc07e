"""Squared losses on groups of equal classes: of all logits, and of the own one alone."""

from __future__ import annotations

import numpy as np

from ncollapse.theory.solvers.blocks import Groups
from ncollapse.theory.solvers.forms.form import Curvature, GroupedLoss, copies

Array = np.ndarray


class GroupedSquares(GroupedLoss):
    """½ (κ (z_y - M)² + Σ_{c≠y} z_c²); κ = M = 1 is the squared distance to e_y.

    Its conjugate is separable: q M + q²/(2κ) of the own gradient, q²/2 of every other.
    """

    def __init__(self, groups: Groups, factor: float = 1.0, target: float = 1.0) -> None:
        self.copies = copies(groups)
        self.factor, self.target = factor, target

    def value(self, own: Array, others: Array) -> Array:
        return 0.5 * (self.factor * (own - self.target) ** 2 + (self.copies * others**2).sum(0))

    def gradient(self, own: Array, others: Array) -> tuple[Array, Array, Array]:
        by_own = self.factor * (own - self.target)
        return self.value(own, others), by_own, self.copies * others

    def curvature(self, own: Array, others: Array) -> Curvature:
        return Curvature(np.full_like(own, self.factor), self.copies)

    def conjugate(self, own: Array, others: Array) -> Array:
        squares = np.divide(
            others**2, self.copies, out=np.zeros_like(others), where=self.copies > 0
        )
        return 0.5 * (own**2 / self.factor + squares.sum(0)) + self.target * own

    def largest_curvature(self) -> float:
        return max(1.0, self.factor)

    def sample_gradients(self, logits: Array, labels: Array) -> Array:
        found, at = logits.copy(), np.arange(len(labels))
        found[at, labels] = self.factor * (found[at, labels] - self.target)
        return found


class GroupedOwnLogit(GroupedLoss):
    """(z_y - t)²/(2t), dot regression: no other logit enters."""

    def __init__(self, target: float, groups: Groups) -> None:
        self.copies = copies(groups)
        self.target = target

    def value(self, own: Array, others: Array) -> Array:
        return (own - self.target) ** 2 / (2 * self.target)

    def gradient(self, own: Array, others: Array) -> tuple[Array, Array, Array]:
        by_own = (own - self.target) / self.target
        return self.value(own, others), by_own, np.zeros_like(others)

    def curvature(self, own: Array, others: Array) -> Curvature:
        return Curvature(np.full_like(own, 1 / self.target), np.zeros_like(others))

    def conjugate(self, own: Array, others: Array) -> Array:
        seen = (others != 0).any(0)
        return np.where(seen, np.inf, self.target * (own + own**2 / 2))

    def largest_curvature(self) -> float:
        return 1 / self.target

    def sample_gradients(self, logits: Array, labels: Array) -> Array:
        found, at = np.zeros_like(logits), np.arange(len(labels))
        found[at, labels] = (logits[at, labels] - self.target) / self.target
        return found
