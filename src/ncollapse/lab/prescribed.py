"""Remedies for minority classes whose classifiers merge: the least weights that theory prescribes,
and what is used in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ncollapse.control.losses import DotRegressionLoss, LogitAdjustedLoss
from ncollapse.control.surgery import fix_head
from ncollapse.lab.compared import HALF
from ncollapse.lab.cosines import block_means, cosines
from ncollapse.lab.data import Dataset
from ncollapse.lab.evaluate import decisions
from ncollapse.lab.free import arrays, trained
from ncollapse.lab.merging import spread
from ncollapse.lab.networks import BATCH, bare, read
from ncollapse.lab.readings import recalls
from ncollapse.lab.train import Loss, Settings, train
from ncollapse.losses import CrossEntropy
from ncollapse.theory.problems import UFM
from ncollapse.theory.subjects.fit import fit_tau
from ncollapse.theory.subjects.prescription import Prescription, prescribe, prescribe_for

# Of effective numbers: the value of the paper's table for long tails (remembered).
BETA = 0.999


def effective_weights(counts: Sequence[int], beta: float = BETA) -> tuple[float, ...]:
    """w_k ∝ (1 - β)/(1 - β^n_k), Σ n_k w_k = N (Cui et al. 2019)."""
    found = np.array([(1 - beta) / (1 - beta**n) for n in counts])
    scaled = found * sum(counts) / float(np.array(counts) @ found)
    return tuple(scaled.tolist())


def weighted(weights: Sequence[float]) -> nn.CrossEntropyLoss:
    return nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float32))


def remedies(counts: Sequence[int], prescription: Prescription) -> dict[str, Loss]:
    """The losses that are compared; "frame" is for a fixed simplex."""
    assert prescription.weights is not None
    return {
        "prescribed": weighted(prescription.weights),
        "effective": weighted(effective_weights(counts)),
        "adjusted": LogitAdjustedLoss(counts),
        "frame": DotRegressionLoss(),
    }


def treated(
    arm: str, loss: str | Loss, data: Dataset, decay: float, epochs: int, seed: int
) -> tuple[dict[str, Any], nn.Sequential]:
    """A network trained with a remedy: mean cosines of its classifiers within the majority, across
    and within the minority, which is the second half of the classes; recall by class on the test
    split, its mean over the minority and over all; error on the training split."""
    model = bare(data, seed)
    if arm == "frame":
        fix_head(model, head="simplex", bias=False, normalize=True, seed=seed)
    settings = Settings(epochs=epochs, batch_size=BATCH, weight_decay=decay, loss=loss, seed=seed)
    last = train(model, data, settings).history[-1]
    recall = recalls(decisions(model, data, "test")[0], data.test_y)
    size = data.num_classes
    within = (-1 / (size - 1),) * 3
    if arm != "frame":
        within = block_means(cosines(arrays(read(model, data)[0])[0]), HALF)
    found = {
        "cosines": list(within),
        "recall": recall,
        "minority": sum(recall[HALF:]) / (size - HALF),
        "all": sum(recall) / size,
        "train_error": last.train_error,
    }
    return found, model


def fitted(model: nn.Sequential, data: Dataset, counts: Sequence[int], margin: float) -> Any:
    """The prescription for the τ that fits a network trained with plain cross-entropy, and the
    fit. margin: at most halfway to what any weights reach."""
    fit = fit_tau(read(model, data)[0], counts, loss="ce", bias="none")
    problem = fit.prediction.problem
    reach = prescribe_for(problem, by="decay").reach
    return prescribe_for(problem, margin=min(margin, (1 + reach) / 2)), fit


def predicted(found: Prescription) -> list[float]:
    """Mean cosines of its classifiers within the majority, across and within the minority."""
    return list(block_means(cosines(arrays(found.prediction.geometry)[0]), HALF))


def around(counts: Sequence[int], few: int, level: float, beside: float, seed: int) -> list[float]:
    """Largest distance between two of the last `few` classifiers, over the longest, where descent
    on weighted cross-entropy ends with lifted strengths at 1/`beside` and at `beside` times the
    threshold; N² λ_W λ_H is `level` times the smallest count."""
    decay = (level * min(counts)) ** 0.5 / sum(counts)
    made = prescribe(counts, margin=beside, weight_decay=decay, feature_decay=decay, bias="none")
    assert made.weights is not None
    lowered = [w / (beside if k >= len(counts) - few else 1) for k, w in enumerate(made.weights)]
    apart = []
    for weights in (lowered, made.weights):
        problem = UFM(
            tuple(counts),
            weight_decay=decay,
            feature_decay=decay,
            loss=CrossEntropy(weight=tuple(weights)),
            bias="none",
            num_features=len(counts) + 1,
        )
        apart.append(spread(trained(problem, seed)[0], len(counts) - few))
    return apart


def certified(draws: int, seed: int) -> list[dict[str, float]]:
    """Random counts and decays: the gap of the prescribed optimum, the least distance of two of its
    classifiers over the longest, the largest over the smallest weight."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        counts = np.sort(np.exp(rng.uniform(1, 7, rng.integers(5, 31))).astype(int) + 1)[::-1]
        bound = (counts.sum() / np.sqrt(counts).sum()) ** 2
        decay = float(np.sqrt(rng.uniform(0.02, 0.45) * bound)) / float(counts.sum())
        made = prescribe(counts.tolist(), weight_decay=decay, feature_decay=decay)
        weight = arrays(made.prediction.geometry)[0]
        gaps = torch.cdist(weight, weight) + 1e9 * torch.eye(len(weight), dtype=torch.float64)
        gap = made.prediction.relative_gap
        rows.append(
            {
                "classes": float(len(counts)),
                "below": float((made.before <= 1).sum()),
                "gap": float("inf") if gap is None else gap,
                "apart": float(gaps.min() / weight.norm(dim=1).max()),
                "ratio": made.ratio,
            }
        )
    return rows
