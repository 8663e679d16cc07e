"""The convex problem behind unconstrained features, on groups of equal classes.

    min over A (K, K), b:  Σ_k π_k w_k ℓ_k(A_k/√ρ_k + b) + τ |A|_* + λ_b/2 ‖b‖²                 (P)

Within-class collapse (Jensen's inequality) and |A|_* = min ½‖L‖² + ½‖R‖² over A = LRᵀ make it equal
to the minimum over W, H and b once d reaches the rank of A. ρ = π for weight decay; ρ = 1 for
constrained norms, where A is the matrix of mean logits itself. Every dual point, that is gradients
q_k of the losses with ‖[√π_k q_k]‖₂ ≤ τ and, for a free bias, Σ π_k w_k q_k = 0, bounds (P) and the
original problem from below: `Relaxation.bound` makes one of any point.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np

from ncollapse.losses import LogitLoss
from ncollapse.theory.solvers.blocks import BlockMatrix, Groups
from ncollapse.theory.solvers.forms.form import Curvature, GroupedLoss
from ncollapse.theory.solvers.grouped import grouped

Array = np.ndarray
# Rounding in a largest singular value, per row, may not turn a bound into more than it is.
SAFETY = 1e-15


@dataclass(frozen=True, eq=False)
class Point:
    """Spreads α (g), core C (g, g) and one bias a group (g), or None without a bias."""

    spread: Array
    core: Array
    bias: Array | None


@dataclass(frozen=True, eq=False)
class Slope:
    """Value of the smooth part and its gradient, with the loss's own gradients beside it."""

    value: float
    spread: Array
    core: Array
    bias: Array | None
    own: Array
    others: Array


@dataclass(frozen=True)
class Bound:
    """A lower bound with what went into it.

    norm_ratio: ‖∇F‖₂/τ before scaling, 1 at an optimum with A ≠ 0. residual: largest entry of the
    bias gradient before the repair, 0 at an optimum.
    """

    value: float
    norm_ratio: float
    residual: float


class Relaxation:
    """(P) for class counts, a loss, τ and λ_b (None: no bias, 0: free)."""

    def __init__(
        self,
        counts: tuple[int, ...] | Array,
        loss: LogitLoss,
        tau: float,
        bias_decay: float | None,
        *,
        share_weighted: bool = True,
        merge: bool = True,
    ) -> None:
        self._set(
            Groups.of(counts, loss.weight, loss.scale, loss.shift, merge=merge),
            loss,
            tau,
            bias_decay,
            share_weighted,
        )

    @classmethod
    def on(
        cls,
        groups: Groups,
        loss: LogitLoss,
        tau: float,
        bias_decay: float | None,
        share_weighted: bool = True,
    ) -> Relaxation:
        """(P) on groups given directly; their counts may be fractions."""
        made = cls.__new__(cls)
        made._set(groups, loss, tau, bias_decay, share_weighted)
        return made

    def _set(
        self,
        groups: Groups,
        loss: LogitLoss,
        tau: float,
        bias_decay: float | None,
        share_weighted: bool,
    ) -> None:
        self.groups, self.loss, self.tau, self.bias_decay = groups, loss, tau, bias_decay
        self.share_weighted = share_weighted
        self.form: GroupedLoss = grouped(loss, groups)
        sizes, number = groups.sizes, groups.number
        share = groups.counts / groups.num_samples
        self.root = np.sqrt(share) if share_weighted else np.ones(number)
        self.mass = sizes * share * groups.weight
        self.rest = np.maximum(sizes - 1, 1)
        # Groups whose spread may differ from 0: all of several classes, but for one held merged.
        self.free = groups.several
        self.to_logits = 1 / np.sqrt(np.outer(sizes, sizes)) / self.root
        self.diagonal = np.diag_indices(number)

    def at(self, tau: float, held: int | None = None) -> Relaxation:
        """The same problem at another τ; held: a group whose spread must be 0."""
        made = copy(self)
        made.tau = tau
        if held is not None:
            made.free = self.free & (np.arange(self.groups.number) != held)
        return made

    # ---- logits and the smooth part -----------------------------------------------------------
    def zero(self) -> Point:
        number = self.groups.number
        bias = None if self.bias_decay is None else np.zeros(number)
        return Point(np.zeros(number), np.zeros((number, number)), bias)

    def logits(self, point: Point) -> tuple[Array, Array]:
        """Own (g) and others (g, g) of the class means."""
        sizes = self.groups.sizes
        others = point.core * self.to_logits
        inside = point.spread / self.root
        middle = others[self.diagonal]
        own = middle + inside * (1 - 1 / sizes)
        others[self.diagonal] = middle - inside / sizes
        if point.bias is not None:
            own = own + point.bias
            others += point.bias[:, None]
        return own, others

    def chain(self, own: Array, others: Array) -> tuple[Array, Array, Array]:
        """From derivatives by a sample's logits to those by spread, core and bias (no decay)."""
        sizes = self.groups.sizes
        per_root = self.mass / self.root
        among = others[self.diagonal]
        by_core = others * (self.to_logits * self.mass)
        by_core[self.diagonal] = per_root * (own + among) / sizes
        by_spread = per_root * (own * (1 - 1 / sizes) - among / sizes)
        by_bias = others @ self.mass + self.mass * own
        return np.where(self.free, by_spread, 0.0), by_core, by_bias

    def smooth(self, point: Point) -> float:
        """Losses and bias decay."""
        value = float(self.mass @ self.form.value(*self.logits(point)))
        return value + self._decay(point.bias)

    def slope(self, point: Point) -> Slope:
        values, own, others = self.form.gradient(*self.logits(point))
        by_spread, by_core, by_bias = self.chain(own, others)
        value = float(self.mass @ values) + self._decay(point.bias)
        if point.bias is None:
            return Slope(value, by_spread, by_core, None, own, others)
        if self.bias_decay:
            by_bias = by_bias + self.bias_decay * self.groups.sizes * point.bias
        return Slope(value, by_spread, by_core, by_bias, own, others)

    def curvature(self, point: Point) -> Curvature:
        return self.form.curvature(*self.logits(point))

    def _decay(self, bias: Array | None) -> float:
        if bias is None or not self.bias_decay:
            return 0.0
        return 0.5 * self.bias_decay * float(self.groups.sizes @ bias**2)

    # ---- the whole objective ------------------------------------------------------------------
    def nuclear(self, point: Point) -> float:
        inside = float((self.groups.sizes - 1) @ np.abs(point.spread))
        return inside + float(np.linalg.svd(point.core, compute_uv=False).sum())

    def objective(self, point: Point) -> float:
        """Value of (P), with the convex envelope in the place of a loss that is not convex."""
        return self.smooth(point) + self.tau * self.nuclear(point)

    def exact_objective(self, point: Point) -> float:
        """Value of (P) with the loss itself."""
        return self.exact_loss(point) + self._decay(point.bias) + self.tau * self.nuclear(point)

    def exact_loss(self, point: Point) -> float:
        """The mean loss itself, without decay."""
        return float(self.mass @ self.form.exact(*self.logits(point)))

    def vanished(self) -> Point:
        """A = 0 with the best bias."""
        return self.polish_bias(self.zero(), rounds=100)

    def vanishing(self) -> float:
        """The τ from which on A = 0 is a minimiser: ‖∇F‖₂ at equal logits with the best bias."""
        slope = self.slope(self.vanished())
        return self.spectral_norm(slope.spread, slope.core)

    def matrix(self, point: Point) -> BlockMatrix:
        return BlockMatrix(self.groups, point.spread, point.core)

    # ---- bias ---------------------------------------------------------------------------------
    def polish_bias(self, point: Point, rounds: int = 20) -> Point:
        """Newton's method on the bias alone, A fixed."""
        if point.bias is None:
            return point
        bias, here = point.bias, self.slope(point)
        for _ in range(rounds):
            pull = here.bias
            assert pull is not None
            # What the gradient is the difference of: its rounding is a share of that.
            scale = float((np.abs(here.others) @ self.mass + self.mass * np.abs(here.own)).max())
            if np.abs(pull).max() <= 1e-15 * scale:
                break
            step = np.linalg.solve(self.bias_hessian(point), pull)
            length = 1.0
            while length > 1e-6:
                there = Point(point.spread, point.core, bias - length * step)
                beyond = self.slope(there)
                if beyond.value <= here.value + 1e-15 * abs(here.value):
                    break
                length /= 4
            else:
                break
            left = beyond.bias
            assert left is not None and there.bias is not None
            # At the level of rounding Newton's method no longer halves the gradient.
            stalls = bool(np.abs(left).max() >= 0.5 * np.abs(pull).max())
            point, bias, here = there, there.bias, beyond
            if stalls and np.abs(left).max() < 1e-8 * scale:
                break
        if not self.bias_decay and self.form.simplex and self.groups.scale is None:
            # A common shift of all logits changes nothing: the mean bias is 0 by choice.
            bias = bias - float(self.groups.sizes @ bias) / self.groups.num_classes
        return Point(point.spread, point.core, bias)

    def bias_hessian(self, point: Point) -> Array:
        """(g, g), made definite along directions that the loss does not see."""
        total = self.curvature(point).of_bias(self.mass)
        total[self.diagonal] += (self.bias_decay or 0.0) * self.groups.sizes
        if not self.bias_decay and self.form.simplex:
            # Softmax does not see b + c/δ.
            unseen = np.ones(self.groups.number)
            if self.groups.scale is not None:
                unseen = self.groups.scale.min() / self.groups.scale
            least = 1e-8 * float(self.mass.sum())
            level = max(float(np.trace(total)), least) / self.groups.num_classes
            total += level / self.groups.num_classes * np.outer(unseen, unseen)
            total[self.diagonal] += 1e-14 * level
        return total

    # ---- lower bounds -------------------------------------------------------------------------
    def bound(self, own: Array, others: Array) -> Bound:
        """Lower bound on (P) from any gradients of the loss, own (g) and others (g, g) (summed).

        Scaled towards 0 until the spectral norm is at most τ: y + s(p - y) stays in the simplex.
        """
        by_spread, by_core, by_bias = self.chain(own, others)
        residual = float(np.abs(by_bias / self.groups.sizes).max())
        if self.bias_decay == 0:
            own, others = self._without_residual(own, others)
            by_spread, by_core, by_bias = self.chain(own, others)
        norm = self.spectral_norm(by_spread, by_core) * (1 + SAFETY * self.groups.number)
        share = min(1.0, self.tau / norm) if norm > 0 else 1.0
        value = -float(self.mass @ self.form.conjugate(share * own, share * others))
        if self.bias_decay:
            mean = share * by_bias / self.groups.sizes
            value -= 0.5 / self.bias_decay * float(self.groups.sizes @ mean**2)
        if self.bias_decay is None:
            residual = 0.0
        return Bound(value, norm / self.tau, residual)

    def spectral_norm(self, by_spread: Array, by_core: Array) -> float:
        inside = float((np.abs(by_spread) / self.rest).max())
        values = np.linalg.eigvalsh(by_core @ by_core.T)
        return max(inside, float(np.sqrt(max(values[-1], 0.0))))

    def _without_residual(self, own: Array, others: Array) -> tuple[Array, Array]:
        """A nearby dual point whose bias gradient is 0, as a free bias demands.

        Simplex: p' = (1 - η) p + η c with one distribution c for all samples. Squares: a shift.
        """
        total = float(self.mass.sum())
        if not self.form.simplex:
            shift = (others @ self.mass + self.mass * own) / self.groups.sizes / total
            return own - shift, others - self.form.copies * shift[:, None]
        scale = self.groups.scale if self.groups.scale is not None else np.ones(len(own))
        own, others = own / scale, others / scale[:, None]
        hit, rest = self.form.hit, self.form.rest
        target_others = rest * self.form.copies
        excess = others @ self.mass + self.mass * own
        excess -= self.groups.sizes * excess.sum() / self.groups.num_classes
        aim = target_others @ self.mass + self.mass * hit
        ratio = max(float((excess / aim).max()), 0.0) * (1 + 1e-9)
        if ratio == 0.0:
            return own * scale, others * scale[:, None]
        mix = ratio / (1 + ratio)
        common = (aim - excess / ratio) / (total * self.groups.sizes)
        # Of q = p - y, never of p: where p_y → 1, q is small and must keep its digits.
        own = (1 - mix) * own + mix * (common - hit)
        others = (1 - mix) * others + mix * (common[:, None] * self.form.copies - target_others)
        return own * scale, others * scale[:, None]
