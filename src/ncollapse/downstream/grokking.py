"""Grokking as late collapse: variance within classes on unseen data, time scales, and the delay.

A network may fit its training data long before it answers for unseen ones. Sakamoto & Sato 2026
(their note and code read, not the paper) tie the second step to the population variance within
classes: fit takes a time of order 1/η, collapse one of order 1/(η λ). The delay is proved for NC1
alone; nothing is proved of the simplex.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ncollapse.downstream.views import View
from ncollapse.metrics.interpolation import Split, checked

RNC1 = "rnc1"


def rnc1(features: Tensor, labels: Tensor) -> float:
    """tr Σ_W/(mean ‖h‖)², samples weigh alike: variance within classes over the squared size of
    features, centred nowhere.

    Unitless, ≥ 0, ideal 0; unchanged by scale and rotation. Of held-out samples it is the
    population's. Raises ValueError for features that are all zero, fewer than two classes, shapes
    that disagree, NaN. Source: code of Sakamoto & Sato 2026 (read).
    """
    return rnc1_of(Split.of(features, checked([features], labels)))


def rnc1_of(split: Split) -> float:
    """The same of features taken apart. Raises ValueError for features that are all zero."""
    rows = split.means[split.labels] + split.rest
    size = float(torch.linalg.vector_norm(rows, dim=1).mean())
    if not size > 0:
        raise ValueError("all features are zero, so their variance has no scale; none can be read")
    return float((split.rest**2).sum(1).mean()) / size**2


class PopulationVariance:
    """A watcher: `rnc1` of every layer and split that a tracker looks at."""

    def read(self, view: View) -> Mapping[str, float | None]:
        if not bool(view.features.any()):
            return {RNC1: None}
        return {RNC1: rnc1(view.features, view.labels)}


# ---- time scales --------------------------------------------------------------------------------
@dataclass(frozen=True)
class TimeScales:
    """Steps in which squared quantities fall by e: fit along a direction of loss curvature 1 (in
    units of 1/curvature), collapse under decay; ratio: 1/λ."""

    fit: float
    collapse: float

    @property
    def ratio(self) -> float:
        return self.collapse / self.fit


def efold_steps(learning_rate: float, rate: float, momentum: float = 0.0) -> float:
    """Steps in which a squared quantity falls by e where the gradient pulls by `rate` · x.

    (1 - β)/(2 η r) to first order in η r: x ← x - η r x without momentum; with it v ← β v + r x,
    x ← x - η v, whose slow root is 1 - η r/(1 - β) up to a share β η r/(1 - β)² of the exponent.
    rate: the decay λ for what the loss does not see, such as deviations within classes; decay that
    is not part of the gradient (AdamW) moves x by -η λ x whatever β, so give momentum 0. Raises
    ValueError for rates that are not positive and momentum outside [0, 1). Source: derived, checked
    by simulation.
    """
    if not (learning_rate > 0 and rate > 0 and 0 <= momentum < 1):
        raise ValueError(
            f"learning_rate={learning_rate}, rate={rate}, momentum={momentum}; positive, positive "
            "and in [0, 1) are needed"
        )
    return (1 - momentum) / (2 * learning_rate * rate)


def time_scales(
    learning_rate: float, weight_decay: float, momentum: float = 0.0, curvature: float = 1.0
) -> TimeScales:
    """Time of fit, (1-β)/(2 η c) for a loss of curvature c where it fits, and of collapse,
    (1-β)/(2 η λ): collapse takes c/λ times as long. Raises ValueError as `efold_steps`."""
    return TimeScales(
        efold_steps(learning_rate, curvature, momentum),
        efold_steps(learning_rate, weight_decay, momentum),
    )
