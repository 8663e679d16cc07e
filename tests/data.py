"""Labelled features of every kind that tests need, from own generators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """A data set with its head. `exact` float64 arrays are what oracles read."""

    name: str
    features: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    bias: np.ndarray


def make(
    name: str,
    *,
    counts: list[int],
    dim: int,
    spread: float = 0.3,
    offset: float = 0.0,
    align: float = 0.8,
    dtype: type = np.float32,
    seed: int = 0,
) -> Case:
    """Gaussian classes about Gaussian means; the head is partly aligned with the means."""
    rng = np.random.default_rng(seed)
    classes = len(counts)
    means = rng.normal(size=(classes, dim)) + offset
    labels = np.repeat(np.arange(classes), counts)
    rng.shuffle(labels)
    features = means[labels] + spread * rng.normal(size=(len(labels), dim))
    weight = align * (means - means.mean(0)) + (1 - align) * rng.normal(size=means.shape)
    bias = 0.1 * rng.normal(size=classes)
    return Case(
        name, features.astype(dtype), labels, weight.astype(np.float32), bias.astype(np.float32)
    )


def zipf(classes: int, samples: int) -> list[int]:
    """Zipf counts with at least one sample a class."""
    share = 1 / np.arange(1, classes + 1)
    counts = np.maximum(1, np.floor(samples * share / share.sum()).astype(int))
    return counts.tolist()


CASES = [
    make("balanced", counts=[60] * 10, dim=32),
    make("imbalanced-singleton", counts=[200, 80, 30, 12, 5, 2, 1], dim=24),
    make("many-classes", counts=[15] * 40, dim=12),
    make("wide", counts=[4] * 5, dim=64),
    make("two-classes", counts=[50, 70], dim=8),
    make("offset", counts=[50] * 6, dim=16, offset=20.0),
    make("collapsed", counts=[100] * 10, dim=48, spread=1e-4, offset=10.0, align=1.0),
    make("float64", counts=[40, 50, 60], dim=10, dtype=np.float64),
    make("long-tail", counts=zipf(60, 800), dim=20),
]
