"""Experiments of the contradictions study, each with its numbers by claim and what they come from:
two layers of a network that groks, a rare grade with a test split, heads on the sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ncollapse.control.ordinal import OrdinalHead
from ncollapse.downstream.incremental_heads import CosineHead
from ncollapse.lab import graded
from ncollapse.lab.data import digits
from ncollapse.lab.facts import facts
from ncollapse.lab.grokking import HEAD, LOGITS, addition, follow
from ncollapse.lab.models import mlp
from ncollapse.lab.readings import recalls
from ncollapse.lab.study import Plan
from ncollapse.lab.train import Settings, train

RARE = 2
Found = tuple[dict[str, float], dict[str, Any]]


def grokked(plan: Plan, seed: int) -> Found:
    """Addition modulo a prime, half-way steps at the hidden layer and at the logits."""
    model, data = addition(plan["modulus"], plan["width"], seed)
    found = follow(model, data, 1.0, steps=plan["steps"], learning_rate=5e-3)
    hidden, logits = found.delay(HEAD), found.delay(LOGITS)
    values = {
        "contradictions-grokking-logits": _number(logits.precedes),
        "contradictions-grokking-hidden": _number(hidden.precedes),
        "contradictions-grokking-unseen": max(_number(hidden.together), _number(logits.together)),
    }
    return values, {"hidden": hidden.to_dict(), "logits": logits.to_dict()}


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def thresholds(plan: Plan, rarity: float, seed: int) -> Found:
    """A rare grade under learned and under fixed thresholds."""
    learned, fixed = (rare_grade(plan, rarity, seed, learn) for learn in (True, False))
    values = {
        "contradictions-thresholds-line": learned["line"],
        "contradictions-thresholds-recall": fixed["rare"] - learned["rare"],
        "contradictions-thresholds-others": learned["others"] - fixed["others"],
    }
    return values, {"learned": learned, "fixed": fixed}


def rare_grade(plan: Plan, rarity: float, seed: int, learn: bool) -> dict[str, Any]:
    """Digits in five grades of ink, two thirds to train on with the middle grade thinned: what the
    network reads there, `test` recalls of the five grades, that of the `rare` one, and the mean of
    the `others`."""
    x, y = graded.ink()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    known, unseen = order.split([2 * len(y) // 3, len(y) - 2 * len(y) // 3])
    some_x, some_y = graded.thinned(x[known], y[known], RARE, rarity, seed)
    model = graded.train(some_x, some_y, plan, seed, learn)
    head = model.head
    assert isinstance(head, OrdinalHead)
    with torch.no_grad():
        test = recalls(head.decide(model(x[unseen])), y[unseen])
    others = [recall for grade, recall in enumerate(test) if grade != RARE]
    found = graded.read(model, some_x, some_y)
    return {**found, "test": test, "rare": test[RARE], "others": sum(others) / len(others)}


def spheres(
    plan: Plan, widths: Sequence[int], seed: int
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Cross-entropy as it is and on the sphere, at the first of the scales for the claims."""
    plain, *rest = (on_sphere(plan, widths, scale, seed) for scale in (None, *plan["scales"]))
    values = {
        "contradictions-loss-reached": plain["own"]["angle"],
        "contradictions-loss-sphere": plain["own"]["angle"] / rest[0]["own"]["angle"],
        "contradictions-loss-raw": rest[0]["raw"]["nc1"] / plain["raw"]["nc1"],
    }
    return values, [plain, *rest]


def on_sphere(plan: Plan, widths: Sequence[int], scale: float | None, seed: int) -> dict[str, Any]:
    """A network on digits under cross-entropy, or under cross-entropy of scale times the cosines of
    features and rows: `facts` of its features `raw`, and as its head takes them (`own`)."""
    data = digits(seed=seed)
    model = mlp(data.num_features, widths, data.num_classes, seed=seed)
    if scale is not None:
        generator = torch.Generator().manual_seed(seed)
        model.head = CosineHead(torch.randn(10, widths[-1], generator=generator), scale)
    last = train(model, data, Settings(epochs=plan["epochs"], seed=seed)).history[-1]
    raw = facts(model, data)
    own = raw if scale is None else facts(model, data, sphere=True)
    return {"scale": scale, "raw": raw, "own": own, "test_error": last.test_error}
