"""A network on digits beside the certified optimum that one fitted scalar picks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ncollapse.lab.cosines import block_means, cosines
from ncollapse.lab.data import Dataset
from ncollapse.lab.free import arrays
from ncollapse.lab.models import penultimate
from ncollapse.lab.networks import Network, head, read, train_network
from ncollapse.losses import CrossEntropy
from ncollapse.metrics.catalog import METRICS
from ncollapse.theory.certificate import certify
from ncollapse.theory.subjects.fit import Fit, fit_tau

CLASSES = 10
HALF = CLASSES // 2
KEYS = ("nc2_etf_means", "nc2_etf_weights", "nc3_duality")


@dataclass(frozen=True, eq=False)
class Compared:
    """network: trained. fit: τ fitted to its class-mean logits, and the optimum there."""

    network: Network
    fit: Fit

    @property
    def weights(self) -> tuple[Tensor, Tensor]:
        """Classifiers (K, d): the network's, and the predicted ones."""
        return arrays(self.network.geometry)[0], arrays(self.fit.prediction.geometry)[0]

    def facts(self, *names: str) -> dict[str, Any]:
        """Numbers by name. measured, predicted: mean cosines of classifiers within the first half
        of the classes, across, and within the second; means, means_predicted: of centred class
        means. norm_ratio, norm_ratio_predicted: mean norm of classifiers in the first half over
        that in the second. collapsed: the classes predicted to merge. distance: of the two, by
        blocks. nc1, train_error, test_error, tau, logit_error. Raises KeyError for others."""
        network, theory = self.network, self.fit.prediction
        found: dict[str, Any] = {
            **{name: getattr(network, name) for name in ("nc1", "train_error", "test_error")},
            **{name: getattr(self.fit, name) for name in ("tau", "logit_error")},
            "collapsed": list(theory.collapsed_classes),
            "distance": network.geometry.distance(theory.geometry).blocks,
        }
        sides = (("measured", "", network.geometry), ("predicted", "_predicted", theory.geometry))
        for name, suffix, geometry in sides:
            weight, _ = arrays(geometry)
            norms = weight.norm(dim=1)
            found[name] = block_means(cosines(weight), HALF)
            found[f"means{suffix}"] = block_means(cosines(geometry.centred_means), HALF)
            found[f"norm_ratio{suffix}"] = float(norms[:HALF].mean() / norms[HALF:].mean())
        return {name: found[name] for name in names}


def compare(counts: Sequence[int], weight_decay: float, epochs: int, seed: int) -> Compared:
    """Train on digits of these class counts with cross-entropy and fit the prediction."""
    network = train_network(counts, weight_decay, epochs=epochs, seed=seed)
    return Compared(network, fit_tau(network.geometry, counts, loss="ce", bias="none"))


def certified_gap(weight: Tensor, features: Tensor, labels: Tensor, tau: float) -> float:
    """(f - bound)/f of cross-entropy without a bias at λ_W = λ_H = τ/√N, in [0, 1].

    W and H are brought to one norm first, (W/a)(aH): logits stay, and of all such pairs theirs has
    the least decay. So the gap does not depend on how a network shares scale between the two.
    """
    weight, features = weight.double(), features.double()
    scale = (weight.norm() / features.norm()).sqrt()
    decay = {f"{name}_decay": tau / math.sqrt(len(features)) for name in ("weight", "feature")}
    found = certify(weight / scale, features * scale, labels, loss=CrossEntropy(), **decay)
    return found.gap / found.objective


def certified_row(model: nn.Sequential, data: Dataset) -> dict[str, float]:
    """nc1 (tr Σ_W / tr Σ_B), NC2 and NC3 by key, τ fitted to the class-mean logits, and `gap`, the
    certified gap there; of a model with a `head` without a bias on balanced training samples."""
    geometry, nc1 = read(model, data)
    found = {key: float(METRICS[key].evaluate(geometry=geometry)) for key in KEYS}
    tau = fit_tau(geometry, loss="ce", bias="none").tau
    features = penultimate(model, data.train_x)
    gap = certified_gap(head(model).weight.detach(), features, data.train_y, tau)
    return {"nc1": nc1, **found, "tau": tau, "gap": gap}


def two_groups(majority: int, minority: int) -> tuple[int, ...]:
    """Counts of the ten digits: the first half has `majority` samples a class, the second
    `minority`."""
    return (majority,) * HALF + (minority,) * HALF


def largest_gap(one: Sequence[float], other: Sequence[float]) -> float:
    """max |a - b|."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
