"""Losses on groups of equal classes: value, gradient, curvature and conjugate.

For a sample of group j: `own[j]` is the logit of its class and `others[i, j]` that of any other
class of group i, which occurs `copies[i, j]` times (m_i, or m_j - 1 inside its own group).
Gradients by `others` are summed over the copies. Class weights are not applied here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.optimize import brentq

from ncollapse.losses import CrossEntropy, Focal, Loss, MeanSquaredError, RescaledSquaredError
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
    """What the convex solver asks of a loss."""

    copies: Array
    # Whether a dual point is y + δ⁻¹q in the simplex (else the dual is the whole space).
    simplex: bool

    def value(self, own: Array, others: Array) -> Array: ...

    def gradient(self, own: Array, others: Array) -> tuple[Array, Array, Array]:
        """Value (g), gradient by own (g), gradient by others (g, g)."""
        ...

    def curvature(self, own: Array, others: Array) -> Curvature: ...

    def conjugate(self, own: Array, others: Array) -> Array:
        """sup_z q·z - ℓ(z) for q = (own, others), others summed over copies; inf outside."""
        ...

    def exact(self, own: Array, others: Array) -> Array:
        """The loss itself where `value` is its convex envelope."""
        ...

    def largest_curvature(self) -> float: ...


def grouped(loss: Loss, groups: Groups) -> GroupedLoss:
    """The grouped form of a loss; ValueError for an unknown one."""
    if isinstance(loss, CrossEntropy):
        return GroupedCrossEntropy(loss.smoothing, groups)
    if isinstance(loss, MeanSquaredError):
        return GroupedSquares(groups)
    if isinstance(loss, RescaledSquaredError):
        return GroupedSquares(groups, loss.factor, loss.target)
    if isinstance(loss, Focal):
        return GroupedFocal(loss.gamma, groups)
    raise ValueError(f"loss {loss!r} has no grouped form; a loss of ncollapse.losses is needed")


def copies(groups: Groups) -> Array:
    """(g, g): how many other classes of group i a sample of group j sees."""
    found = np.repeat(groups.sizes[:, None], groups.number, axis=1)
    found[np.diag_indices(groups.number)] -= 1
    return found


class GroupedCrossEntropy:
    """-Σ_c t_c log softmax(δ z + ι)_c, t = (1 - ε) e_y + ε/K."""

    simplex = True

    def __init__(self, smoothing: float, groups: Groups) -> None:
        self.copies = copies(groups)
        self.scale, self.shift = groups.scale, groups.shift
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

    exact = value

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


class GroupedSquares:
    """½ (κ (z_y - M)² + Σ_{c≠y} z_c²); κ = M = 1 is the squared distance to e_y.

    Its conjugate is separable: q M + q²/(2κ) of the own gradient, q²/2 of every other.
    """

    simplex = False

    def __init__(self, groups: Groups, factor: float = 1.0, target: float = 1.0) -> None:
        self.copies = copies(groups)
        self.factor, self.target = factor, target

    def value(self, own: Array, others: Array) -> Array:
        return 0.5 * (self.factor * (own - self.target) ** 2 + (self.copies * others**2).sum(0))

    exact = value

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


class GroupedFocal:
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
        seen = np.where(self.copies > 0, others, -np.inf)
        top = seen.max(0)
        share = self.copies * np.exp(np.minimum(others - top, 0.0))
        total = share.sum(0)
        return np.log(total) + top - own, share / total

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


def _entropy_terms(mass: Array, number: Array) -> Array:
    """mass · log(mass/number), zero where there is no mass (rounding may leave -1e-17)."""
    share = np.divide(mass, number, out=np.ones_like(mass), where=number > 0)
    return np.where(mass > 0, mass * np.log(np.maximum(share, 1e-300)), 0.0)
