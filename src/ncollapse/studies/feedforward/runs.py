"""Runs of the feedforward study: networks of one width, trained whole, read layer by layer."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch import nn

from ncollapse.lab.models import mlp
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.walked import some_digits, walk
from ncollapse.studies.models import residual


def one_layer(settings: Plan, seed: int) -> Outcome:
    """L-RN1 trained with decay, without, and not at all."""
    data, plan = some_digits(settings["samples"], seed), settings["one"]
    arms = {"decay": plan["decay"], "none": 0.0, "untrained": None}
    net = partial(_residual, plan["blocks"], seed)
    walks = {name: walk(net(), data, settings, decay) for name, decay in arms.items()}
    mine, pfc2 = walks["decay"], walks["decay"].ratios("pfc2")
    third = max(1, plan["blocks"] // 3)
    values = {
        "feedforward-pfc1": max(mine.ratios("pfc1")),
        "feedforward-pfc3": max(mine.steps("pfc3")),
        "feedforward-ratio": max(mine.ratios("ratio")),
        "feedforward-pfc2-rises": max(pfc2[:third]),
        "feedforward-pfc2-falls": max(pfc2[third:]),
        "feedforward-predicted": max(map(abs, mine.path.log_ratio["pfc1"])),
        "feedforward-law-one": mine.law.correlation,
    }
    for name, arm in (("untrained", "untrained"), ("undecayed", "none")):
        a, b = mine.path, walks[arm].path
        assert a.straightness is not None and b.straightness is not None
        values[f"feedforward-residual-{name}"] = math.log(max(a.residuals) / max(b.residuals))
        values[f"feedforward-straight-{name}"] = a.straightness - b.straightness
    return outcome(values, **{name: one.to_dict() for name, one in walks.items()})


def two_layers(settings: Plan, seed: int) -> Outcome:
    """L-RN2 without the final normalisation, under constant decay."""
    data, plan = some_digits(settings["samples"], seed), settings["two"]
    model = _residual(plan["blocks"], seed, linears=2, norm=False)
    found = walk(model, data, settings, plan["decay"])
    values = {
        "feedforward-two-straight": found.path.straightness,
        "feedforward-two-pfc1": found.kept("pfc1"),
        "feedforward-two-pfc2": found.kept("pfc2"),
        "feedforward-law-two": found.law.correlation,
    }
    return outcome(values, two=found.to_dict())


def plain(settings: Plan, seed: int) -> Outcome:
    """An MLP of the same width without residuals or normalisation; the hidden layers alone."""
    data, plan = some_digits(settings["samples"], seed), settings["plain"]
    model = mlp(64, (64,) * plan["layers"], 10, batch_norm=False, seed=seed)
    found = walk(model, data, settings, plan["decay"])
    return outcome({"feedforward-law-plain": found.law.correlation}, plain=found.to_dict())


def _residual(blocks: int, seed: int, **how: Any) -> nn.Sequential:
    return residual(64, 64, 10, blocks, seed=seed, **how)
