"""Runs of the residual-depth study: every family at every depth and decay, trained and read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from ncollapse.lab.data import Dataset, digits, long_tailed
from ncollapse.lab.full_batch import train_full_batch
from ncollapse.lab.models import penultimate
from ncollapse.lab.networks import TEST_SHARE, read
from ncollapse.lab.statistics import slope
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.metrics.catalog import METRICS
from ncollapse.studies.models import flat, residual, transformer
from ncollapse.theory.subjects.gufm_gap import gufm_gap

# Decays by their name, from λ and L; in the order in which they fall faster.
DECAYS: dict[str, Callable[[float, int], float]] = {
    "λ": lambda decay, _: decay,
    "λ/log L": lambda decay, L: decay / math.log(L),
    "λ/log² L": lambda decay, L: decay / math.log(L) ** 2,
    "λ/L": lambda decay, L: decay / L,
}
KEYS = ("nc2_etf_means", "nc3_duality")
Row = dict[str, Any]


def one_layer(settings: Plan, seed: int) -> Outcome:
    """L-RN1 at constant decay, and one depth without the final normalisation."""
    data, depths = _data(settings["samples"], seed), settings["rn1"]
    rows = [
        _trained(_residual(settings, L, 1, seed), data, settings, L, settings["steps"])
        for L in depths
    ]
    L = settings["no_norm"]
    bare = _trained(
        _residual(settings, L, 1, seed, norm=False), data, settings, L, settings["steps"]
    )
    same = next(row for row in rows if row["depth"] == L)
    ratios = [b[key] / a[key] for key in ("gap", "nc1") for a, b in pairwise(rows)]
    values = {
        "residual-depth-rn1-gap": _slope(rows, "gap"),
        "residual-depth-rn1-nc1": _slope(rows, "nc1"),
        "residual-depth-rn1-falls": max(ratios),
        "residual-depth-no-norm": math.log10(bare["nc1"] / same["nc1"]),
    }
    return outcome(values, rn1=rows, no_norm=bare)


def two_layers(settings: Plan, seed: int) -> Outcome:
    """L-RN2 under each decay."""
    data = _data(settings["samples"], seed)
    rows = {
        name: [
            _trained(
                _residual(settings, L, 2, seed), data, settings, L, settings["steps"], decay=name
            )
            for L in settings["rn2"]
        ]
        for name in DECAYS
    }
    slopes = [_slope(rows[name], "nc1") for name in DECAYS]
    values = {
        "residual-depth-rn2-stalls": _slope(rows["λ"], "gap"),
        "residual-depth-rn2-log2": slopes[2],
        "residual-depth-rn2-linear": slopes[3],
        "residual-depth-rn2-order": max(b - a for a, b in pairwise(slopes)),
    }
    return outcome(values, rn2=rows)


def transformers(settings: Plan, seed: int) -> Outcome:
    """L-Tx1 at constant decay, L-Tx2 at constant decay and at λ/L."""
    data = _data(settings["token_samples"], seed)

    def arm(linears: int, decay: str) -> list[Row]:
        return [
            _trained(
                _transformer(settings, L, linears, seed),
                data,
                settings,
                L,
                settings["token_steps"],
                decay=decay,
            )
            for L in settings[f"tx{linears}"]
        ]

    one, two, linear = arm(1, "λ"), arm(2, "λ"), arm(2, "λ/L")
    values = {
        "residual-depth-tx1-gap": _slope(one, "gap", 1),
        "residual-depth-tx1-nc1": _slope(one, "nc1", 1),
        "residual-depth-tx2-stalls": _slope(two, "gap", 1),
        "residual-depth-tx2-linear": _slope(linear, "nc1", 1),
    }
    return outcome(values, tx1=one, tx2={"λ": two, "λ/L": linear})


# ---- a network, trained and read ----------------------------------------------------------------
def _data(samples: int, seed: int) -> Dataset:
    whole = digits(TEST_SHARE, seed)
    return long_tailed(whole, (samples,) * whole.num_classes, seed)


def _residual(
    settings: Plan, depth: int, linears: int, seed: int, *, norm: bool = True
) -> nn.Sequential:
    return residual(64, settings["width"], 10, depth, linears=linears, norm=norm, seed=seed)


def _transformer(settings: Plan, depth: int, linears: int, seed: int) -> nn.Sequential:
    tokens = settings["tokens"]
    made = transformer(
        tokens, 64 // tokens, settings["width"], 10, depth, linears=linears, seed=seed
    )
    return flat(made, tokens)


def _trained(
    model: nn.Sequential,
    data: Dataset,
    settings: Plan,
    depth: int,
    steps: int,
    *,
    decay: str = "λ",
) -> Row:
    """Numbers of a trained network; the gap only with the final normalisation."""
    used = DECAYS[decay](settings["decay"], depth)
    train_full_batch(
        model,
        data.train_x,
        data.train_y,
        used,
        steps=steps,
        learning_rate=settings["learning_rate"],
    )
    geometry, nc1 = read(model, data)
    found: Row = {"depth": depth, "decay": used, "nc1": nc1}
    found |= {key: float(METRICS[key].evaluate(geometry=geometry)) for key in KEYS}
    logits = model.get_submodule("head")(penultimate(model, data.train_x))
    found["error"] = float((logits.argmax(1) != data.train_y).double().mean())
    if not isinstance(model.get_submodule("norm"), nn.Identity):
        gap = gufm_gap(model, data.train_x, data.train_y, used)
        found |= {"gap": gap.gap, "blocks": gap.rest_decay, "optimum": gap.optimum}
    return found


def _slope(rows: Sequence[Row], key: str, least: int = 2) -> float:
    """Of log value over log L, depths from `least` on; NaN where a value is not positive."""
    kept = [row for row in rows if row["depth"] >= least]
    if any(not row[key] > 0 for row in kept):
        return math.nan
    return slope([math.log(row["depth"]) for row in kept], [math.log(row[key]) for row in kept])
