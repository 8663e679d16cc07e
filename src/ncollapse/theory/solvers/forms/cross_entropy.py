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
        """-log p_y, p_y, p of the others (summed over copies) and their sum 1 - p_y.

        None of them is a difference of larger numbers, so that all digits hold as p_y → 1.
        """
        top = np.maximum(own, others.max(0))
        mine = np.exp(own - top)
        theirs = np.exp(others - top)
        theirs *= self.copies
        rest = theirs.sum(0)
        total = mine + rest
        # log(total), without its 1 where the own logit leads.
        surprise = (top - own) + np.log1p(rest + (mine - 1))
        return surprise, mine / total, theirs / total, rest / total

    def _smoothed(self, surprise: Array, own: Array, others: Array) -> Array:
        """The loss: -log p_y + (ε/K) Σ_{c≠y} (z_y - z_c)."""
        if not self.rest:
            return surprise
        found: Array = surprise + self.rest * (self.copies * (own - others)).sum(0)
        return found

    def value(self, own: Array, others: Array) -> Array:
        own, others = self._adjusted(own, others)
        return self._smoothed(self._softmax(own, others)[0], own, others)

    def gradient(self, own: Array, others: Array) -> tuple[Array, Array, Array]:
        own, others = self._adjusted(own, others)
        surprise, _, p_others, p_rest = self._softmax(own, others)
        found = self._smoothed(surprise, own, others)
        by_own = (1 - self.hit) - p_rest
        if self.rest:
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
        # p_y = 1 - miss, and log p_y from the small number.
        miss = np.minimum((1 - self.hit) - own, 1.0)
        found = np.where(miss < 1, (1 - miss) * np.log1p(-np.minimum(miss, 1 - 1e-16)), 0.0)
        found = found + _entropy_terms(others + self.rest * self.copies, self.copies).sum(0)
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
        # The own entry from the others, not from p_y - 1, whose digits vanish as p_y → 1.
        at = np.arange(len(labels))
        found[at, labels] = 0.0
        found[at, labels] = -found.sum(1)
        return found if self.scale is None else found * self.scale


def _entropy_terms(mass: Array, number: Array) -> Array:
    """mass · log(mass/number), zero where there is no mass (rounding may leave -1e-17)."""
    share = np.divide(mass, number, out=np.ones_like(mass), where=number > 0)
    return np.where(mass > 0, mass * np.log(np.maximum(share, 1e-300)), 0.0)
