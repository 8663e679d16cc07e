"""What a small network's layers are good for beyond its training: new classes, foreign inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncollapse.collect.statistics.fourth import higher_moments
from ncollapse.collect.tap.preserve import evaluating
from ncollapse.control.principal import PrincipalFeatures
from ncollapse.downstream.complexity import geometric_complexity
from ncollapse.downstream.fewshot import few_shot_bounds
from ncollapse.downstream.overcollapse import direction_entropy, moved, over_collapse
from ncollapse.downstream.probes import auc, few_shot_accuracy
from ncollapse.lab.held_out import Transfer
from ncollapse.lab.models import penultimate
from ncollapse.lab.readings import NC1, RATIO, reading, reading_of

INPUT = "input"
# Bounds are read for so many shots; accuracy is that of `SHOTS`.
SHOTS, MANY = 5, 50
PROBED = 200


def layers_of(model: nn.Sequential, inputs: Tensor) -> dict[str, Float[Tensor, "samples dim"]]:
    """Inputs and what leaves each ReLU of a model of `ncollapse.lab.models`, in eval mode."""
    found, rows = {INPUT: inputs}, inputs
    with evaluating(model), torch.no_grad():
        for name, part in list(model.named_children())[:-1]:
            rows = part(rows)
            if name.startswith("relu"):
                found[name] = rows.clone()
    return found


def out_of_distribution(model: nn.Sequential, digits: Transfer) -> tuple[float, float]:
    """AUROC of seen test digits against unseen ones: energy, logsumexp of the logits, and NECO,
    ‖P(h - h̄)‖/‖h - h̄‖ with P onto C - 1 principal directions of the training features."""
    known = penultimate(model, digits.seen.test_x).double()
    foreign = penultimate(model, digits.unseen_x).double()
    fit = penultimate(model, digits.seen.train_x).double()
    centre = fit.mean(0)
    _, _, axes = torch.linalg.svd(fit - centre, full_matrices=False)
    axes = axes[: digits.seen.num_classes - 1]
    rows = torch.cat([known, foreign])
    with torch.no_grad():
        logits = model[-1](rows.float())
    energy = torch.logsumexp(logits, 1)
    rest = rows - centre
    length = torch.linalg.vector_norm(rest, dim=1).clamp_min(1e-12)
    neco = torch.linalg.vector_norm(rest @ axes.T, dim=1) / length
    positive = torch.arange(len(rows)) < len(known)
    return auc(energy, positive), auc(neco, positive)


def onward(
    model: nn.Sequential, digits: Transfer, *, draws: int, seed: int, around: int = 0
) -> dict[str, float | dict[str, float]]:
    """Of a network trained on the seen digits: collapse on them (nc1), 5-shot accuracy on unseen
    ones by layer, bounds on that error, AUROC of both scores, geometric complexity (and over the
    variance of features), target NC1, over-collapse (AUC lost to adjacent regions, entropy of
    directions). around: how many test samples are moved, all for 0."""
    there = layers_of(model, digits.unseen_x)
    accuracy = {
        name: few_shot_accuracy(rows, digits.unseen_y, shots=SHOTS, draws=draws, seed=seed).accuracy
        for name, rows in there.items()
    }
    last = list(there)[-1]
    moments = higher_moments(there[last], digits.unseen_y)
    few, many = few_shot_bounds(moments, SHOTS), few_shot_bounds(moments, MANY)
    assert few.sharp is not None and few.normal is not None and many.sharp is not None
    energy, neco = out_of_distribution(model, digits)
    complexity = geometric_complexity(model[:-1], digits.seen.train_x[:PROBED], probes=8, seed=seed)
    inputs, labels = (part[: around or None] for part in digits.seen.loader("test"))
    away = moved(inputs, seed=seed)
    pair = layers_of(model, inputs)[last], layers_of(model, away)[last]
    over = over_collapse((inputs, away), {last: pair}, labels, seed=seed)[last]
    train = digits.seen.loader("train")
    return {
        "nc1": reading(model, train, NC1),
        "nc1_ratio": reading(model, train, RATIO),
        "target_nc1": reading_of(there[last], digits.unseen_y, RATIO),
        "accuracy": accuracy,
        "unseen": accuracy[last],
        "sharp": few.sharp,
        "sharp_many": many.sharp,
        "published": few.published,
        "published_many": many.published,
        "cdnv_many": many.cdnv,
        "normal": few.normal,
        "energy": energy,
        "neco": neco,
        "complexity": complexity.value,
        "scaled": complexity.scaled,
        "gap": over.gap,
        "entropy": direction_entropy(penultimate(model, train[0]), train[1], seed=seed),
    }


def whitened(fit: Float[Tensor, "samples dim"]) -> Callable[[Tensor], Tensor]:
    """A map that makes the covariance of `fit`, shrunk by a hundredth of its mean variance, the
    identity."""
    wide = fit.double()
    centre = wide.mean(0)
    covariance = (wide - centre).T @ (wide - centre) / len(wide)
    values, axes = torch.linalg.eigh(covariance)
    scale = (values.clamp_min(0) + 0.01 * values.clamp_min(0).mean()).rsqrt()
    return lambda rows: (rows.double() - centre) @ axes * scale


def remedied(
    model: nn.Sequential, digits: Transfer, *, share: float, draws: int, seed: int
) -> Mapping[str, float]:
    """5-shot accuracy on unseen digits of last-layer features as they are, on the principal
    directions of the seen classes' training features, and whitened by these."""
    fit, there = penultimate(model, digits.seen.train_x), penultimate(model, digits.unseen_x)
    kept = {
        "none": there,
        "pca": PrincipalFeatures(share).fit(fit).transform(there),
        "whitening": whitened(fit)(there),
    }
    return {
        name: few_shot_accuracy(rows, digits.unseen_y, shots=SHOTS, draws=draws, seed=seed).accuracy
        for name, rows in kept.items()
    }


def grouped_labels(labels: Int[Tensor, " samples"], groups: int, seed: int) -> Tensor:
    """Super-classes: the ten digits dealt into `groups` of equal size, by an own generator."""
    order = torch.randperm(10, generator=torch.Generator().manual_seed(seed))
    group = torch.empty(10, dtype=torch.int64)
    group[order] = torch.arange(10) % groups
    return group[labels]
