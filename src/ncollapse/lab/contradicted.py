"""Networks of the contradictions study: grades with a test split, and heads on the sphere."""

from __future__ import annotations

from typing import Any

import torch

from ncollapse.control.ordinal import OrdinalHead
from ncollapse.downstream.incremental_heads import CosineHead
from ncollapse.lab import graded
from ncollapse.lab.data import digits
from ncollapse.lab.facts import facts
from ncollapse.lab.models import mlp
from ncollapse.lab.readings import recalls
from ncollapse.lab.study import Plan
from ncollapse.lab.train import Settings, train

RARE = 2


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


def on_sphere(plan: Plan, widths: list[int], scale: float | None, seed: int) -> dict[str, Any]:
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
