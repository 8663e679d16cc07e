"""A network of some severity of collapse, and what its scores make of classes never seen."""

from __future__ import annotations

from typing import Any

import torch

from ncollapse.downstream import ood
from ncollapse.lab.held_out import Transfer, source_network
from ncollapse.lab.models import penultimate
from ncollapse.lab.ood_pairs import Scored, told_apart
from ncollapse.lab.readings import reading
from ncollapse.lab.study import Plan
from ncollapse.lab.train import Settings, train


def lead(auroc: dict[str, float], name: str) -> float:
    """Points by which a score is ahead of the best of those that rest on collapse."""
    return 100 * (auroc[name] - max(auroc[other] for other in ood.COLLAPSE_BASED))


def severity_row(settings: Plan, digits: Transfer, decay: float, seed: int) -> dict[str, Any]:
    """A network taught the seen digits at a decay: its collapse, NC5, and how well every score
    tells the unseen ones apart."""
    model = source_network(digits, seed)
    plan = Settings.of(settings, weight_decay=decay, seed=seed)
    last = train(model, digits.seen, plan).history[-1]
    scored = Scored.of(model, digits.seen)
    foreign = penultimate(model, digits.unseen_x)
    auroc = scored.auroc(digits.unseen_x)
    for name, center in (("neco_raw", False), ("neco_centred", True)):
        detector = ood.NECO(standardize=False, center=center).fit_reference(scored.reference)
        auroc[name] = told_apart(detector, scored.test, foreign)
    means, outside = scored.reference.summary.means, foreign.to(torch.float64).mean(0)
    return {
        "decay": decay,
        "accuracy": 1 - last.test_error,
        "train_error": last.train_error,
        "nc1": reading(model, digits.seen.loader("train")),
        "nc5": float(ood.nc5(means, outside)),
        "nc5_centred": float(ood.nc5(means, outside, means.mean(0))),
        "auroc": auroc,
    }
