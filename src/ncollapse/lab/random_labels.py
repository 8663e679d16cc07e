"""Networks on labels of a lottery, beside networks on the true labels of the same samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ncollapse.collect.ranks.ranks import Ranks
from ncollapse.lab.by_name import data_for, train_by_name
from ncollapse.lab.features import Features, features_of, read_under
from ncollapse.lab.samples import relabelled, subset, train_labels
from ncollapse.lab.study import Plan

LABELLINGS = 20


def shuffled_and_true(
    name: str, settings: Plan, samples: int, seed: int
) -> tuple[dict[str, Any], dict[str, float], int]:
    """Train the model on shuffled labels of some samples, and on their true labels.

    Returns what both read, the mean over `labellings`, and the number of classes. Held-out samples
    are looked at twice: under random labels, which is the law that the first network was trained
    on (a row of `labellings` a draw), and under their true labels (`held_out`).
    """
    data = subset(data_for(name, settings, seed), samples, seed)
    true = train_labels(data)
    generator = torch.Generator().manual_seed(seed + 1)
    mixed = relabelled(data, true[torch.randperm(true.numel(), generator=generator)])
    found: dict[str, Any] = {}
    held: dict[str, Features] = {}
    for label, chosen in (("random", mixed), ("true", data)):
        result = train_by_name(name, settings, seed, chosen, label=label)
        inside = features_of(result.model, chosen, "train", Ranks.current())
        held[label] = features_of(result.model, chosen, "test", Ranks.current())
        found[label] = {
            "train_error": result.history[-1].train_error,
            "train_nc1": read_under(inside, inside.labels)["nc1"],
            "held_out": read_under(held[label], held[label].labels),
        }
    labels = held["random"].labels
    orders = [torch.randperm(labels.numel(), generator=generator) for _ in range(LABELLINGS)]
    rows = [read_under(held["random"], labels[order]) for order in orders]
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return {**found, "labellings": rows}, mean, data.num_classes
