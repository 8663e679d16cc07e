"""Runs of the imbalance study: free features by descent, networks on digits."""

from __future__ import annotations

import torch

from ncollapse.lab.blocks import block_errors
from ncollapse.lab.compared import CLASSES, compare, largest_gap, two_groups
from ncollapse.lab.cosines import closeness, cosines, pairs
from ncollapse.lab.data import geometric_counts
from ncollapse.lab.debiased import nc1_debiased
from ncollapse.lab.free import squared_error_lengths, trained, unbiased
from ncollapse.lab.networks import train_network
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.losses import MeanSquaredError

BLOCK_DECAY = 5e-3
FACTS = (
    "measured", "predicted", "norm_ratio", "norm_ratio_predicted", "tau", "logit_error", "nc1",
    "train_error", "test_error", "distance",
)  # fmt: skip


def lengths(settings: Plan, seed: int) -> Outcome:
    """Bias-free mean squared error by descent against the closed form of lengths and logits."""
    counts = settings["counts"]
    problem = unbiased(counts, settings["decay"], MeanSquaredError(), width=len(counts) + 1)
    weight, means = trained(problem, seed)
    found = weight.square().sum(1), means.square().sum(1), (weight @ means.T).diagonal()
    wanted = squared_error_lengths(problem)
    errors = [float((a - b).abs().max() / b.max()) for a, b in zip(found, wanted, strict=True)]
    alive = wanted[0] > 0
    angles = [float(pairs(cosines(rows[alive])).abs().max()) for rows in (weight, means)]
    count = torch.tensor(counts, dtype=torch.float64)
    squares, sizes = found[0][alive], count[alive]
    factor = (squares * sizes).sum() / sizes.square().sum()
    values = {
        "imbalance-orthogonal": max(angles),
        "imbalance-lengths": max(errors),
        "imbalance-not-frequency": float((factor * sizes / squares - 1).abs().max()),
    }
    return outcome(
        values,
        counts=counts,
        tau=problem.tau,
        dead=int((~alive).sum()),
        found=found[0],
        wanted=wanted[0],
        proportional=factor * count,
    )


def blocks(settings: Plan, seed: int) -> Outcome:
    """Cross-entropy with two groups of counts by descent: blocks, and the solver's blocks."""
    found = block_errors(settings["blocks"], BLOCK_DECAY, seed)
    return outcome({"imbalance-blocks": max(found["errors"].values())}, **found)


def network(settings: Plan, seed: int) -> Outcome:
    """Step-imbalanced digits: the prediction with one fitted scalar, and NC1 beside balance."""
    wanted, epochs = settings["network"], settings["epochs"]
    counts = two_groups(wanted["majority"], wanted["minority"])
    level = (sum(counts) // CLASSES,) * CLASSES
    balanced = train_network(level, wanted["decays"][0], epochs=epochs, seed=seed)
    found = {decay: compare(counts, decay, epochs, seed) for decay in wanted["decays"]}
    rows = [{"decay": decay, **one.facts(*FACTS)} for decay, one in found.items()]
    debiased = [nc1_debiased(one) for one in (found[wanted["decays"][0]].network, balanced)]
    values = {
        "imbalance-nc1": debiased[0] / debiased[1],
        "imbalance-network-blocks": max(largest_gap(r["measured"], r["predicted"]) for r in rows),
        "imbalance-network-closer": min(closeness(*one.weights)[1] for one in found.values()),
    }
    return outcome(values, rows=rows, balanced_nc1=balanced.nc1, debiased=debiased, counts=counts)


def longtail(settings: Plan, seed: int) -> Outcome:
    """Long-tailed digits against the prediction with one fitted scalar."""
    wanted = settings["network"]
    counts = geometric_counts(wanted["majority"], wanted["minority"], CLASSES)
    found = compare(counts, wanted["decays"][0], settings["epochs"], seed)
    gap, ratio = closeness(*found.weights)
    measured, predicted = (pairs(cosines(weight)) for weight in found.weights)
    return outcome(
        {"imbalance-longtail": gap, "imbalance-longtail-closer": ratio},
        counts=counts,
        measured=measured,
        predicted=predicted,
        **found.facts("tau", "logit_error", "nc1", "test_error"),
    )
