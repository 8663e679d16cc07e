"""Runs of the robustness study: networks at several severities of collapse, and two trained against
attacks, each looked at under attack."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

from scipy.stats import spearmanr
from torch import nn

from ncollapse.downstream.attacks import PGD, Noise
from ncollapse.downstream.hardening import adversarial_step, trades_step
from ncollapse.errors import NCollapseWarning
from ncollapse.lab.data import Dataset, digits
from ncollapse.lab.hardened import (
    CLIP,
    LAYERS,
    Step,
    harden,
    looked,
    network,
    pixels,
    targeted,
    withstood,
)
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.readings import NC1, reading
from ncollapse.lab.samples import subset
from ncollapse.lab.statistics import slope
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings

ANGLE = "nc2_maxangle_means"


def networks(settings: Plan, seed: int) -> Outcome:
    """One collapsed network, attacked in all ways; and one a set point of the thermostat."""
    data, eps, steps = _data(settings, seed), settings["eps"], settings["steps"]
    how = {"steps": steps, "points": settings["points"], "seed": seed}
    model, accuracy = network(data, Settings.of(settings, seed=seed))
    found = looked(model, data, eps, layers=LAYERS, **how)
    grid = [_at(model, data, one, steps, seed) for one in settings["grid"]]
    to = targeted(model, data, settings["far"], steps, seed)
    test = data.loader("test")
    hit, shaken = PGD(eps, steps=steps, clip=CLIP, seed=seed), Noise(eps, clip=CLIP, seed=seed)
    inputs = {"clean": data.test_x, "pgd": hit(model, *test), "noise": shaken(model, *test)}
    rows, loose, other = _sweep(settings, data, seed)
    drifting = looked(loose, data, eps, test=False, noise=False, **how)
    train, hostile, calm = found["train"], found["train@pgd"], found["train@noise"]
    both = (hostile, found["test@pgd"])
    layers = found["test@pgd"]["layers"]
    clean = [row["accuracy"] for row in rows]
    ranks = {
        key: float(spearmanr(settings["grid"], [sign * row[key] for row in grid]).statistic)
        for key, sign in (("accuracy", -1), (NC1, 1), ("mean_angle", 1))
    }
    values = {
        "robustness-vanishes": math.log10(hostile[NC1] / train[NC1]),
        "robustness-noise": math.log10(hostile[NC1] / calm[NC1]),
        "robustness-leap-predicted": min(one["leap_predicted"] for one in both),
        "robustness-leap-own": max(one["leap_own"] for one in both),
        "robustness-leap-path": _over(hostile, drifting["train@pgd"], "leap_between"),
        "robustness-leap-equal": 100 * (accuracy - other),
        "robustness-eps": min(ranks.values()),
        "robustness-early": 100 * (layers[LAYERS[0]] - layers["head"]),
        "robustness-targeted": to["target"],
        "robustness-targeted-true": to["true"],
        "robustness-over-collapse": 100
        * slope([math.log10(row["point"]) for row in rows], [row["robust"] for row in rows]),
        "robustness-over-collapse-clean": 100 * (max(clean) - min(clean)),
    }
    robust = withstood(model, data, settings["sweep"]["eps"], steps, seed)
    plain = {"accuracy": accuracy, "robust": robust, "nc1": train[NC1]}
    return outcome(
        values,
        found=found,
        grid=grid,
        targeted=to,
        pixels=pixels(data, inputs),
        rows=rows,
        plain=plain,
        drifting=drifting,
    )


def hardened(settings: Plan, seed: int) -> Outcome:
    """Adversarial training and TRADES from one start, on the same batches."""
    data, plan = _data(settings, seed), settings["hard"]
    how = Settings.of({**settings, **plan}, seed=seed)
    attack = PGD(settings["eps"], steps=plan["steps"], clip=CLIP)
    steps: dict[str, Step] = {
        "adversarial": lambda m, x, y, g: adversarial_step(m, x, y, attack, generator=g),
        "trades": lambda m, x, y, g: trades_step(m, x, y, attack, generator=g),
    }
    found: dict[str, dict[str, Any]] = {}
    used: dict[str, dict[str, float]] = {}
    for name, step in steps.items():
        model = mlp(data.num_features, WIDTHS, data.num_classes, seed=seed)
        last = harden(model, data, how, step)
        how_far = {"steps": settings["steps"], "points": settings["points"], "seed": seed}
        found[name] = looked(model, data, settings["eps"], layers=LAYERS, **how_far)
        used[name] = {key: reading(model, last, key) for key in (NC1, ANGLE)}
    mine, theirs = found["adversarial"], found["trades"]
    hostile = mine["test@pgd"]
    values = {
        "robustness-adversarial-angle": mine["train@pgd"]["mean_angle"],
        "robustness-adversarial-nc1": math.log10(mine["train@pgd"][NC1] / mine["train"][NC1]),
        "robustness-adversarial-centres": 100 * (hostile["ncc_accuracy"] - hostile["accuracy"]),
        "robustness-trades-simplex": min(
            math.log10(used["trades"][key] / used["adversarial"][key]) for key in (NC1, ANGLE)
        ),
        "robustness-trades-accuracy": 100 * (theirs["test@pgd"]["accuracy"] - hostile["accuracy"]),
    }
    return outcome(values, found=found, used=used)


def _data(settings: Plan, seed: int) -> Dataset:
    found = subset(digits(seed=seed), settings["samples"], seed)
    assert isinstance(found, Dataset)
    few = settings["samples"] or None
    return replace(found, test_x=found.test_x[:few], test_y=found.test_y[:few])


def _at(model: nn.Module, data: Dataset, eps: float, steps: int, seed: int) -> dict[str, float]:
    """Readings of the training split at one size of attack."""
    found = looked(model, data, eps, test=False, noise=False, walked=0, steps=steps, seed=seed)[
        "train@pgd"
    ]
    kept = ("accuracy", NC1, "mean_angle", "mean_angle_raw", "leap_own", "leap_predicted")
    return {"eps": eps, **{key: found[key] for key in kept}}


def _over(first: dict[str, float], second: dict[str, float], key: str) -> float:
    return first[key] / second[key] if second[key] else math.nan


def _sweep(
    settings: Plan, data: Dataset, seed: int
) -> tuple[list[dict[str, float]], nn.Module, float]:
    """Robust accuracy by set point; the network of the largest one, and its test accuracy."""
    plan, rows = settings["sweep"], []
    with warnings.catch_warnings():
        # Out of reach is a result here; what is reached is kept below.
        warnings.simplefilter("ignore", NCollapseWarning)
        for point in plan["points"]:
            how = Settings.of({**settings, **plan}, seed=seed)
            model, accuracy = network(data, how, point)
            held = reading(model, data.loader("train"))
            robust = withstood(model, data, plan["eps"], settings["steps"], seed)
            rows.append({"point": point, "nc1": held, "accuracy": accuracy, "robust": robust})
    return rows, model, accuracy
