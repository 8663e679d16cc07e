"""The law of the sum of the classifier's rows, s = Wᵀ1, under training.

Where the loss depends on softmax(z) only (cross-entropy, also weighted, smoothed, focal or with
adjusted logits), its gradient has no component along s, for any features, batch and class counts:
1ᵀ ∂ℓ/∂z = 0. What is left are decay, momentum and the learning rates:

- SGD: v ← β v + (1 - dampening) λ s (first step: v = λ s), s ← s - η v, with Nesterov
  s ← s - η (λ s + β v);
- decay outside the momentum (SGDW, Muon): v ← β v, s ← (1 - η λ) s - η v.

Clipping by the global norm before decay is added, as torch does, changes nothing. Updates that are
not spectral but entry by entry (Adam, AdamW, RMSprop, signs) have no closed law. The sum of the
biases obeys the same with its own decay. Source: Zhao et al. 2026 for SGD with momentum (page
read); dampening, Nesterov, decoupled decay and Muon are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """How an optimiser moves s where the gradient does not: decay λ ≥ 0, momentum β in [0, 1),
    dampening, Nesterov's form, and whether decay stands outside the momentum.

    Raises ValueError for values outside these ranges.
    """

    weight_decay: float = 0.0
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    decoupled: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum}; a number in [0, 1) is needed")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay={self.weight_decay}; at least 0 is needed")
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov needs a momentum above 0 and no dampening, as in torch")

    def step(self, s: Any, v: Any, rate: Any) -> tuple[Any, Any]:
        """One step of s and of its momentum (None: not begun) at a learning rate, of arrays or of
        tensors."""
        decay, beta = self.weight_decay, self.momentum
        if self.decoupled:
            v = 0 * s if v is None else beta * v
            # Nesterov's step looks one momentum ahead; where no gradient enters that is β v.
            ahead = beta * v if self.nesterov else v
            return (1 - rate * decay) * s - rate * ahead, v
        pull = decay * s
        if beta:
            v = pull if v is None else beta * v + (1 - self.dampening) * pull
            pull = pull + beta * v if self.nesterov else v
        return s - rate * pull, v


def predict_sum(
    start: ArrayLike, rates: Sequence[float], rule: Rule, momentum: ArrayLike | None = None
) -> Array:
    """The path of s: (steps + 1, dim), from `start` (dim) and the learning rate of every step.

    `momentum` is 1ᵀ of the optimiser's buffer at the start; None: an optimiser that has not
    stepped. Raises ValueError for a start that is not finite.
    """
    s = np.atleast_1d(np.asarray(start, dtype=np.float64))
    if not np.isfinite(s).all():
        raise ValueError("the sum of the rows is not finite at the start, so nothing follows")
    v = None if momentum is None else np.atleast_1d(np.asarray(momentum, dtype=np.float64))
    path = [s]
    for rate in rates:
        s, v = rule.step(s, v, float(rate))
        path.append(s)
    return np.stack(path)


def spectral_radius(rate: float, rule: Rule) -> float:
    """The largest absolute eigenvalue of (s_t, s_{t-1}) ↦ (s_{t+1}, s_t) at a constant learning
    rate: ‖s‖ shrinks by it a step in the long run; above 1 it grows."""
    decay, beta = rate * rule.weight_decay, rule.momentum
    if decay == 0:
        return 1.0
    if rule.decoupled:
        return max(abs(1 - decay), beta)
    pull = (1 - rule.dampening) * decay if beta else decay
    # Roots of x² - trace x + determinant.
    trace = 1 + beta - pull
    determinant = beta
    if rule.nesterov:
        trace, determinant = 1 + beta - decay - beta * decay, beta * (1 - decay)
    return float(np.abs(np.roots([1.0, -trace, determinant])).max())


def time_scale(rate: float, rule: Rule) -> float:
    """Steps in which ‖s‖² falls by e: -1/(2 log r) of the spectral radius r, infinite where it does
    not fall. At small η λ about (1 - β)/(2 η λ) for SGD and 1/(2 η λ) for decoupled decay, so that
    the second needs 1/(1 - β) times the decay."""
    radius = spectral_radius(rate, rule)
    if radius >= 1:
        return math.inf
    return -1 / (2 * math.log(radius)) if radius > 0 else 0.0


def critical_decay(rate: float, momentum: float) -> float:
    """(1 - √β)²/η: the decay of SGD beyond which s oscillates, and ‖s‖ shrinks by √β a step and no
    faster."""
    return float((1 - math.sqrt(momentum)) ** 2 / rate)
