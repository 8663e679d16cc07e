"""Runs of the domain-shift study: one network a strength of gradient reversal, and its probes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ncollapse.collect.tap.preserve import evaluating
from ncollapse.downstream.foldwise import left_out
from ncollapse.downstream.subspace import effective_rank
from ncollapse.lab.data import Dataset, digits
from ncollapse.lab.domains import CLASSES, Adversarial, turned
from ncollapse.lab.study import Outcome, Plan, Units, outcome
from ncollapse.lab.train import Settings, train


def sweep(settings: Plan, seed: int) -> Outcome:
    """Every strength on the same data and from the same start."""
    data, seen = digits(seed=seed), settings["seen"]
    domains = len(seen)
    # A label holds class and domain: label = class · domains + domain.
    parts = [
        (
            torch.cat([turned(x, a) for a in seen]),
            torch.cat([y * domains + i for i in range(domains)]),
        )
        for x, y in (data.loader("train"), data.loader("test"))
    ]
    (train_x, train_y), (test_x, test_y) = parts
    joint = Dataset(train_x, train_y, test_x, test_y, data.class_names)
    unseen = turned(data.test_x, settings["unseen"])
    rows = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        told = functional.cross_entropy(logits[:, CLASSES:], labels % domains)
        return functional.cross_entropy(logits[:, :CLASSES], labels // domains) + told

    for strength in settings["strengths"]:
        model = Adversarial(data.num_features, settings["widths"], domains, strength, seed)
        train(model, joint, Settings.of(settings, loss=loss, seed=seed))
        with evaluating(model), torch.no_grad():
            known, foreign = model.body(test_x), model.body(unseen)
            right = model.head(known).argmax(1) == test_y // domains
        probes = {
            "unseen": left_out(foreign, data.test_y, folds=settings["folds"]),
            "domain": left_out(known, test_y % domains, folds=settings["folds"]),
        }
        rows.append(
            {
                "strength": strength,
                **{name: float(found.probe.double().mean()) for name, found in probes.items()},
                "rank": effective_rank(known),
                "source": float(right.double().mean()),
            }
        )
    values = {
        "domain-shift-invariant": 100 * (rows[-1]["domain"] - rows[0]["domain"]),
        "domain-shift-rank": rows[-1]["rank"] / rows[0]["rank"],
    }
    return outcome(values, rows=rows)


def combine(units: Units) -> dict[str, list[float]]:
    """Of each seed the fall from the strength that the other seeds find best to the strongest."""
    table = [[row["unseen"] for row in run["rows"]] for run in units["sweep"]]
    falls = []
    for number, mine in enumerate(table):
        others = [row for place, row in enumerate(table) if place != number] or [mine]
        means = [sum(column) for column in zip(*others, strict=True)][:-1]
        falls.append(100 * (mine[means.index(max(means))] - mine[-1]))
    return {"domain-shift-unseen": falls}
