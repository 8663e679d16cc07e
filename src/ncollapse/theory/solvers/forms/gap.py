"""How far the own logit lies below the others': what softmax losses increase with."""

from __future__ import annotations

import numpy as np

from ncollapse.theory.solvers.blocks import Groups
from ncollapse.theory.solvers.forms.form import Curvature, GroupedLoss, copies, gap_to_others

Array = np.ndarray


class GroupedGap(GroupedLoss):
    """s = log Σ_{c≠y} e^{u_c} - u_y with u = δ z + ι; cross-entropy is log(1 + e^s).

    Convex, with a gradient that does not vanish as p_y → 1: where a loss is 1e-20 and its Newton
    steps crawl, those of s do not. A difference in s bounds the relative one of cross-entropy.
    """

    absolute = True

    def __init__(self, groups: Groups) -> None:
        self.copies = copies(groups)
        ones = np.ones(groups.number)
        self.scale = ones if groups.scale is None else groups.scale
        self.shift = 0 * ones if groups.shift is None else groups.shift

    def _gap(self, own: Array, others: Array) -> tuple[Array, Array]:
        own = self.scale * own + self.shift
        others = self.scale[:, None] * others + self.shift[:, None]
        return gap_to_others(self.copies, own, others)

    def value(self, own: Array, others: Array) -> Array:
        return self._gap(own, others)[0]

    def gradient(self, own: Array, others: Array) -> tuple[Array, Array, Array]:
        s, share = self._gap(own, others)
        return s, -self.scale, self.scale[:, None] * share

    def curvature(self, own: Array, others: Array) -> Curvature:
        moved = self.scale[:, None] * self._gap(own, others)[1]
        none = np.zeros_like(own)
        return Curvature(none, self.scale[:, None] * moved, ((none - 1.0, none, moved),))

    def conjugate(self, own: Array, others: Array) -> Array:
        """Σ p log(p/copies) - p·ι - (q_y/δ_y) ι_y, p = q/δ of the others."""
        p = others / self.scale[:, None]
        share = np.divide(p, self.copies, out=np.ones_like(p), where=self.copies > 0)
        found = np.where(p > 0, p * np.log(np.maximum(share, 1e-300)), 0.0).sum(0)
        return np.asarray(found - self.shift @ p - self.shift * own / self.scale)

    def largest_curvature(self) -> float:
        return 0.5 * float(self.scale.max()) ** 2

    def sample_gradients(self, logits: Array, labels: Array) -> Array:
        at = np.arange(len(labels))
        moved = logits * self.scale + self.shift
        moved[at, labels] = -np.inf
        found: Array = np.exp(moved - moved.max(1)[:, None])
        found /= found.sum(1)[:, None]
        found[at, labels] = -1.0
        return found * self.scale
