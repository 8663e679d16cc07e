"""The focal loss on groups of equal classes, by its convex envelope."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from ncollapse.theory.solvers.blocks import Groups
from ncollapse.theory.solvers.forms.form import Curvature, GroupedLoss, copies, gap_to_others

Array = np.ndarray


class GroupedFocal(GroupedLoss):
    """Convex envelope of ψ(s) = -(1 - p)^γ log p, s = log Σ_{j≠y} e^{z_j} - z_y, p = 1/(1 + e^s).

    ψ is convex up to s₀, where ψ'(s₀) = 1, and its envelope goes on with slope 1: a point whose
    classes all have p_y ≥ p₀ = 1/(1 + e^{s₀}) has the same value under both, and a gap that closes
    there proves it globally optimal for the loss itself. γ = 0 is cross-entropy (s₀ = ∞).
    """

    simplex = True

    def __init__(self, gamma: float, groups: Groups) -> None:
        self.copies = copies(groups)
        self.gamma = gamma
        # ψ' exceeds 1 for all large s, so that there is one crossing.
        self.end = (
            brentq(lambda s: self.slope_at(s) - 1.0, -60.0, 2.0 + 1.0 / gamma)
            if gamma > 0
            else np.inf
        )

    @property
    def smallest_probability(self) -> float:
        """p₀: the envelope equals the loss where p_y ≥ p₀."""
        return float(1 / (1 + np.exp(self.end)))

    def slope_at(self, s: float) -> float:
        """ψ'(s)."""
        return float(self._slope(np.array([s]))[0])

    def envelope_slope(self, s: Array) -> Array:
        """Derivative of the envelope: ψ' up to its end, 1 beyond."""
        return np.where(s < self.end, np.minimum(self._slope(np.minimum(s, self.end)), 1.0), 1.0)

    def _psi(self, s: Array) -> Array:
        return np.exp(-self.gamma * np.logaddexp(0, -s)) * np.logaddexp(0, s)

    def _slope(self, s: Array) -> Array:
        log_p, log_q = -np.logaddexp(0, s), -np.logaddexp(0, -s)
        found: Array = np.exp(self.gamma * log_q) * (
            np.exp(log_q) - self.gamma * np.exp(log_p) * log_p
        )
        return found

    def _bend(self, s: Array) -> Array:
        """ψ''."""
        log_p, log_q = -np.logaddexp(0, s), -np.logaddexp(0, -s)
        p, q = np.exp(log_p), np.exp(log_q)
        inner = self.gamma * p * (q - self.gamma * p * log_p)
        found: Array = np.exp(self.gamma * log_q) * (
            inner + p * q * (1 + self.gamma + self.gamma * log_p)
        )
        return found

    def _gap(self, own: Array, others: Array) -> tuple[Array, Array]:
        """s (g) and the shares of the other classes, summed over copies (g, g)."""
        return gap_to_others(self.copies, own, others)

    def value(self, own: Array, others: Array) -> Array:
        s, _ = self._gap(own, others)
        inside = np.minimum(s, self.end)
        return self._psi(inside) + (s - inside)

    def exact(self, own: Array, others: Array) -> Array:
        return self._psi(self._gap(own, others)[0])

    def gradient(self, own: Array, others: Array) -> tuple[Array, Array, Array]:
        s, share = self._gap(own, others)
        inside = np.minimum(s, self.end)
        slope = self.envelope_slope(s)
        return self._psi(inside) + (s - inside), -slope, slope * share

    def curvature(self, own: Array, others: Array) -> Curvature:
        s, share = self._gap(own, others)
        slope = self.envelope_slope(s)
        bend = np.where(s < self.end, np.maximum(self._bend(np.minimum(s, self.end)), 0.0), 0.0)
        none = np.zeros_like(own)
        terms = ((-slope, none, share), (bend, none - 1.0, share))
        return Curvature(none, slope * share, terms)

    def conjugate(self, own: Array, others: Array) -> Array:
        slope = -own
        share = np.divide(
            others, self.copies, out=np.zeros_like(others), where=self.copies > 0
        ) / np.maximum(slope, 1e-300)
        logs = np.log(np.maximum(share, 1e-300))
        return self._conjugate_of_psi(slope) + np.where(others > 0, others * logs, 0.0).sum(0)

    def _conjugate_of_psi(self, slope: Array) -> Array:
        """sup_s t s - ψ(s) by bisection on the increasing ψ', then Newton."""
        low = np.full_like(slope, -700.0 / (self.gamma + 1))
        high = np.full_like(slope, min(self.end, 60.0))
        for _ in range(60):
            middle = 0.5 * (low + high)
            above = self._slope(middle) > slope
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        s = 0.5 * (low + high)
        found = np.where(slope <= 0, 0.0, slope * s - self._psi(s))
        return np.where(slope > 1 + 1e-12, np.inf, found)

    def largest_curvature(self) -> float:
        return 1.0 + 0.5 * self.gamma

    def order_gradient(self, own: Array, others: Array) -> tuple[Array, Array]:
        """Of s: -1 by own, the shares of the others."""
        return np.full_like(own, -1.0), self._gap(own, others)[1]

    def lowered(self, own: Array, others: Array, fall: Array) -> Array:
        return self.exact(own + fall, others)

    def sample_gradients(self, logits: Array, labels: Array) -> Array:
        """Of the envelope."""
        at = np.arange(len(labels))
        others = logits.copy()
        others[at, labels] = -np.inf
        top = others.max(1)
        share = np.exp(others - top[:, None])
        total = share.sum(1)
        slope = self.envelope_slope(np.log(total) + top - logits[at, labels])
        found: Array = slope[:, None] * share / total[:, None]
        found[at, labels] = -slope
        return found
