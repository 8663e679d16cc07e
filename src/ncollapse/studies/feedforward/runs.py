"""Runs of the feedforward study: networks of one width, trained whole, read layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ncollapse.lab.data import Dataset, digits, long_tailed
from ncollapse.lab.full_batch import train_full_batch
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import TEST_SHARE
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.metrics.depth import separation_law
from ncollapse.metrics.geodesic import Geodesic, geodesic
from ncollapse.studies.models import residual

Row = dict[str, Any]


def one_layer(settings: Plan, seed: int) -> Outcome:
    """L-RN1 trained with decay, without, and not at all."""
    data, plan = _data(settings, seed), settings["one"]
    paths = {
        name: _walked(_residual(data, plan["blocks"], seed), data, settings, decay)
        for name, decay in (("decay", plan["decay"]), ("none", 0.0), ("untrained", None))
    }
    rows = {name: _row(path, data) for name, path in paths.items()}
    found, third = rows["decay"]["path"].measured, max(1, plan["blocks"] // 3)
    pfc2 = _ratios(found["pfc2"])
    values = {
        "feedforward-pfc1": max(_ratios(found["pfc1"])),
        "feedforward-pfc3": max(b - a for a, b in pairwise(found["pfc3"])),
        "feedforward-ratio": max(_ratios(found["ratio"])),
        "feedforward-pfc2-rises": max(pfc2[:third]),
        "feedforward-pfc2-falls": max(pfc2[third:]),
        "feedforward-predicted": max(map(abs, rows["decay"]["path"].log_ratio["pfc1"])),
        "feedforward-law-one": rows["decay"]["law"]["correlation"],
    }
    for name, other in (("untrained", rows["untrained"]), ("undecayed", rows["none"])):
        mine = rows["decay"]["path"]
        values[f"feedforward-residual-{name}"] = math.log(
            max(mine.residuals) / max(other["path"].residuals)
        )
        values[f"feedforward-straight-{name}"] = mine.straightness - other["path"].straightness
    return outcome(values, **{name: _plain(row) for name, row in rows.items()})


def two_layers(settings: Plan, seed: int) -> Outcome:
    """L-RN2 without the final normalisation, under constant decay."""
    data, plan = _data(settings, seed), settings["two"]
    model = _residual(data, plan["blocks"], seed, linears=2, norm=False)
    row = _row(_walked(model, data, settings, plan["decay"]), data)
    path: Geodesic = row["path"]
    values = {
        "feedforward-two-straight": path.straightness,
        "feedforward-two-pfc1": path.measured["pfc1"][-1] / path.measured["pfc1"][0],
        "feedforward-two-pfc2": path.measured["pfc2"][-1] / path.measured["pfc2"][0],
        "feedforward-law-two": row["law"]["correlation"],
    }
    return outcome(values, two=_plain(row))


def plain(settings: Plan, seed: int) -> Outcome:
    """An MLP of the same width without residuals or normalisation; the hidden layers alone."""
    data, plan = _data(settings, seed), settings["plain"]
    widths = (data.num_features,) * plan["layers"]
    model = mlp(data.num_features, widths, data.num_classes, batch_norm=False, seed=seed)
    _train(model, data, settings, plan["decay"])
    hidden, h = [], data.train_x
    with torch.no_grad():
        for part in list(model.children())[:-1]:
            h = part(h)
            if isinstance(part, nn.ReLU):
                hidden.append(h)
    row = _row(hidden, data)
    return outcome({"feedforward-law-plain": row["law"]["correlation"]}, plain=_plain(row))


# ---- a network, trained and read ----------------------------------------------------------------
def _data(settings: Plan, seed: int) -> Dataset:
    whole = digits(TEST_SHARE, seed)
    return long_tailed(whole, (settings["samples"],) * whole.num_classes, seed)


def _residual(
    data: Dataset, blocks: int, seed: int, *, linears: int = 1, norm: bool = True
) -> nn.Sequential:
    width, classes = data.num_features, data.num_classes
    return residual(width, width, classes, blocks, linears=linears, norm=norm, seed=seed)


def _train(model: nn.Sequential, data: Dataset, settings: Plan, decay: float) -> None:
    steps, rate = settings["steps"], settings["learning_rate"]
    train_full_batch(model, data.train_x, data.train_y, decay, steps=steps, learning_rate=rate)


def _walked(
    model: nn.Sequential, data: Dataset, settings: Plan, decay: float | None
) -> list[Tensor]:
    """h_0 … h_L of the residual stream after training; decay None: as it was drawn."""
    if decay is not None:
        _train(model, data, settings, decay)
    with torch.no_grad():
        path = [model.get_submodule("entry")(data.train_x)]
        for block in model.get_submodule("blocks").children():
            path.append(block(path[-1]))
    return path


def _row(path: Sequence[Tensor], data: Dataset) -> Row:
    """The path against its geodesic, and the law of separation: D = K · PFC1, as classes are of
    one size."""
    found = geodesic(path, data.train_y)
    law = separation_law([data.num_classes * value for value in found.measured["pfc1"]])
    return {"path": found, "law": law.to_dict()}


def _plain(row: Row) -> Row:
    return {"path": row["path"].to_dict(), "law": row["law"]}


def _ratios(values: Sequence[float]) -> list[float]:
    return [b / a for a, b in pairwise(values)]
