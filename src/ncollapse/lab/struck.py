"""What studies read of networks under attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from ncollapse.collect.tap.taps import Taps
from ncollapse.downstream.attacks import PGD, Noise, attacked
from ncollapse.downstream.robustness import robust_accuracy, seen
from ncollapse.lab.data import Dataset
from ncollapse.measuring.attacked import measure_attack
from ncollapse.metrics.leap import Vertices, angle_between, class_means

CLIP = (0.0, 1.0)
# What is read at every layer and split.
KEYS = (
    "accuracy", "ncc_accuracy", "nc1_fisher", "nc2_maxangle_means", "flip_share", "leap_own",
    "leap_predicted", "leap_between", "mean_angle", "mean_angle_raw",
)  # fmt: skip
# Early and late activations of the networks of `networks.WIDTHS`.
LAYERS = ("relu0", "relu1")


def looked(
    model: nn.Module, data: Dataset, eps: float, *, test: bool = True, **more: Any
) -> dict[str, dict[str, Any]]:
    """Readings by split: those of the head by key, and ncc_accuracy by layer under "layers"."""
    loaders = {split: data.loader(split) for split in ("train", *(("test",) if test else ()))}
    found = measure_attack(
        model, loaders, eps=eps, clip=CLIP, keys=KEYS, null=False, intervals=False, **more
    )
    return {
        split: {key: reading.value for key, reading in layers["head"].items()}
        | {"layers": {name: readings["ncc_accuracy"].value for name, readings in layers.items()}}
        for split, layers in found.results.items()
    }


def targeted(
    model: nn.Module, data: Dataset, eps: float, steps: int, seed: int
) -> dict[str, float]:
    """A targeted attack on the training split, y → y + 1, its successes alone: their share, and the
    angle of their means to the clean ones, grouped by target and by label."""
    inputs, labels = data.loader("train")
    K = data.num_classes
    goal = (labels + 1) % K
    hostile = attacked(
        model, PGD(eps, steps=steps, targeted=True, clip=CLIP), inputs, goal, seed=seed
    )
    taps = Taps(model)
    clean, after = seen(taps, (inputs, labels)), seen(taps, (hostile, goal))
    there = after.decided == goal

    def angle(groups: Tensor) -> float:
        means = class_means(after.features[there], groups[there], K)
        return float(angle_between(clean.vertices, Vertices(means)))

    return {"share": float(there.double().mean()), "target": angle(goal), "true": angle(labels)}


def pixels(model: nn.Module, data: Dataset, eps: float, steps: int, seed: int) -> dict[str, float]:
    """Accuracy of nearest clean class means of the pixels themselves: test samples clean, attacked
    and noisy."""
    test = data.loader("test")
    hit, shaken = PGD(eps, steps=steps, clip=CLIP, seed=seed), Noise(eps, clip=CLIP, seed=seed)
    inputs = {"clean": data.test_x, "pgd": hit(model, *test), "noise": shaken(model, *test)}
    means = class_means(data.train_x, data.train_y, data.num_classes)
    nearest = {name: torch.cdist(x.double(), means).argmin(1) for name, x in inputs.items()}
    return {name: float((found == data.test_y).double().mean()) for name, found in nearest.items()}


def withstood(model: nn.Module, data: Dataset, eps: float, steps: int, seed: int) -> float:
    """Test accuracy under PGD on cross-entropy and on the margin, the worse for each sample."""
    how = PGD(eps, steps=steps, clip=CLIP)
    attacks = [how, replace(how, loss="margin")]
    return robust_accuracy(model, attacks, *data.loader("test"), seed=seed)


def at_sizes(
    model: nn.Module, data: Dataset, sizes: Sequence[float], steps: int, seed: int
) -> tuple[list[dict[str, float]], float]:
    """Readings of the attacked training split by size of the attack; and how surely they go with
    it, the smallest rank correlation of falling accuracy, rising NC1 and rising angle."""
    rows = []
    for eps in sizes:
        found = looked(model, data, eps, test=False, noise=False, walked=0, steps=steps, seed=seed)
        rows.append({"eps": eps, **found["train@pgd"]})
    signs = {"accuracy": -1, "nc1_fisher": 1, "mean_angle": 1}
    ranks = [spearmanr(sizes, [s * row[key] for row in rows])[0] for key, s in signs.items()]
    return rows, float(min(ranks))
