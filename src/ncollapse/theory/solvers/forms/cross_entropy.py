"""Cross-entropy on groups of equal classes, smoothed, scaled and shifted."""

from __future__ import annotations

import numpy as np

from ncollapse.theory.solvers.blocks import Groups
from ncollapse.theory.solvers.forms.form import Curvature, GroupedLoss, copies

Array = np.ndarray


class GroupedCrossEntropy(GroupedLoss):
    """-Σ_c t_c log softmax(δ z + ι)_c, t = (1 - ε) e_y + ε/K."""

    simplex = True

    def __init__(self, smoothing: float, groups: Groups) -> None:
        self.copies = copies(groups)
        self.scale, self.shift = groups.scale, groups.shift
        self.smoothing = smoothing
        self.rest = smoothing / groups.num_classes
        self.hit = 1 - smoothing + self.rest

    def _adjusted(self, own: Array, others: Array) -> tuple[Array, Array]:
        if self.scale is not None:
            own, others = own * self.scale, others * self.scale[:, None]
        if self.shift is not None:
            own, others = own + self.shift, others + self.shift[:, None]
        return own, others

    def _softmax(self, own: Array, others: Array) -> tuple[Array, Array, Array, Array]:
        """Log-sum-exp, and unnormalised own, others and rest relative to the largest."""
        top = np.maximum(own, others.max(0))
        mine = np.exp(own - top)
        theirs = np.exp(others - top)
        theirs *= self.copies
        rest = theirs.sum(0)
        total = mine + rest
        return np.log(total) + top, mine / total, theirs / total, rest / total

    def value(self, own: Array, others: Array) -> Array:
        own, others = self._adjusted(own, others)
        found = self._softmax(own, others)[0] - self.hit * own
        if self.rest:
            found = found - self.rest * (self.copies * others).sum(0)
        return found

    def gradient(self, own: Array, others: Array) -> tuple[Array, Array, Array]:
        own, others = self._adjusted(own, others)
        log_sum, _, p_others, p_rest = self._softmax(own, others)
        found = log_sum - self.hit * own
        # 1 - p_y summed from the others: no cancellation as p_y → 1.
        by_own = (1 - self.hit) - p_rest
        if self.rest:
            found = found - self.rest * (self.copies * others).sum(0)
            p_others = p_others - self.rest * self.copies
        if self.scale is not None:
            by_own, p_others = by_own * self.scale, p_others * self.scale[:, None]
        return found, by_own, p_others

    def curvature(self, own: Array, others: Array) -> Curvature:
        _, p_own, p_others, _ = self._softmax(*self._adjusted(own, others))
        if self.scale is None:
            return Curvature(p_own, p_others, ((np.full(len(p_own), -1.0), p_own, p_others),))
        v_own, v_others = p_own * self.scale, p_others * self.scale[:, None]
        term = (np.full(len(p_own), -1.0), v_own, v_others)
        return Curvature(v_own * self.scale, v_others * self.scale[:, None], (term,))

    def conjugate(self, own: Array, others: Array) -> Array:
        if self.scale is not None:
            own, others = own / self.scale, others / self.scale[:, None]
        p_own, p_others = own + self.hit, others + self.rest * self.copies
        found = _entropy_terms(p_own, np.ones_like(p_own)) + _entropy_terms(
            p_others, self.copies
        ).sum(0)
        if self.shift is not None:
            found = found - self.shift * own - self.shift @ others
        return found

    def largest_curvature(self) -> float:
        return 0.5 * (1.0 if self.scale is None else float(self.scale.max()) ** 2)

    def sample_gradients(self, logits: Array, labels: Array) -> Array:
        if self.scale is not None:
            logits = logits * self.scale
        if self.shift is not None:
            logits = logits + self.shift
        found: Array = np.exp(logits - logits.max(1)[:, None])
        found /= found.sum(1)[:, None]
        found -= self.rest
        found[np.arange(len(labels)), labels] -= 1 - self.smoothing
        return found if self.scale is None else found * self.scale


def _entropy_terms(mass: Array, number: Array) -> Array:
    """mass · log(mass/number), zero where there is no mass (rounding may leave -1e-17)."""
    share = np.divide(mass, number, out=np.ones_like(mass), where=number > 0)
    return np.where(mass > 0, mass * np.log(np.maximum(share, 1e-300)), 0.0)
