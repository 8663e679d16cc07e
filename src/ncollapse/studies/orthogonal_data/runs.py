"""Runs of the orthogonal-data study: the same data from small and from large weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ncollapse.lab.rays import flow, predicted_nc1, readings, separable
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.theory.subjects.rays import NormLaw, norm_law

KEYS = ("dir_spread", "norm_cv", "raw_cosine", "nc1_ratio", "nc3_alignment")


def small(settings: Plan, seed: int) -> Outcome:
    """From small weights: rays, and the law of their lengths."""
    found, law, features, labels = _run(settings, seed, settings["small"], settings["steps"])
    unit = torch.nn.functional.normalize(features, dim=1)
    values = {
        "orthogonal-data-rays": found["dir_spread"],
        "orthogonal-data-means": found["raw_cosine"],
        "orthogonal-data-nc1": found["nc1_ratio"],
        "orthogonal-data-norms": found["nc1_ratio"] / predicted_nc1(law, features, labels),
        "orthogonal-data-lengths": float(law.correlation.min()),
        "orthogonal-data-dual": found["nc3_alignment"],
        "orthogonal-data-normalised": readings(unit, labels, ("nc1_ratio",))["nc1_ratio"],
    }
    return outcome(values, **_shown(found, law, features, labels))


def random(settings: Plan, seed: int) -> Outcome:
    """From small weights in random directions."""
    start = settings["small"], settings["steps"], False
    found, law, features, labels = _run(settings, seed, *start)
    values = {
        "orthogonal-data-random-rays": found["dir_spread"],
        "orthogonal-data-random-means": found["raw_cosine"],
    }
    return outcome(values, **_shown(found, law, features, labels))


def large(settings: Plan, seed: int) -> Outcome:
    """From large weights in random directions."""
    start = settings["large"], settings["large_steps"], False
    found, law, features, labels = _run(settings, seed, *start)
    values = {
        "orthogonal-data-large-rays": found["dir_spread"],
        "orthogonal-data-large-means": found["raw_cosine"],
    }
    return outcome(values, **_shown(found, law, features, labels))


def _run(
    plan: Plan, seed: int, scale: float, steps: int, dealt: bool = True
) -> tuple[dict[str, float], NormLaw, Tensor, Tensor]:
    inputs, labels = separable(plan["classes"], plan["dim"], plan["each"], plan["noise"], seed)
    features, head = flow(
        inputs,
        labels,
        plan["width"],
        scale=scale,
        steps=steps,
        rate=plan["rate"],
        dealt=dealt,
        seed=seed,
    )
    law = norm_law(inputs, features, labels)
    return readings(features, labels, KEYS, head), law, features, labels


def _shown(
    found: dict[str, float], law: NormLaw, features: Tensor, labels: Tensor
) -> dict[str, Any]:
    return {
        "readings": found,
        "predicted_cv": law.predicted_cv.tolist(),
        "measured_cv": law.measured_cv.tolist(),
        "along": law.projections.tolist(),
        "lengths": features.norm(dim=1).tolist(),
        "labels": labels.tolist(),
    }
