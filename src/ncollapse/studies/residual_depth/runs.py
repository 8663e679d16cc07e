"""Runs of the residual-depth study: every family at every depth and decay, trained and read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn

from ncollapse.lab.data import digits, long_tailed
from ncollapse.lab.full_batch import gap_row
from ncollapse.lab.networks import TEST_SHARE
from ncollapse.lab.statistics import power
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.studies.models import flat, residual, transformer

# Decays by their name, from λ and L; in the order in which they fall faster.
DECAYS: dict[str, Callable[[float, int], float]] = {
    "λ": lambda decay, _: decay,
    "λ/log L": lambda decay, L: decay / math.log(L),
    "λ/log² L": lambda decay, L: decay / math.log(L) ** 2,
    "λ/L": lambda decay, L: decay / L,
}
Row = dict[str, Any]
Make = Callable[[int], nn.Sequential]


def one_layer(settings: Plan, seed: int) -> Outcome:
    """L-RN1 at constant decay, and one depth without the final normalisation."""
    net = partial(residual, 64, settings["width"], 10, seed=seed)
    rows = _rows(settings, net, settings["rn1"], seed)
    (bare,) = _rows(settings, partial(net, norm=False), [settings["no_norm"]], seed)
    same = next(row for row in rows if row["depth"] == bare["depth"])
    values = {
        "residual-depth-rn1-gap": power(rows, "depth", "gap", 2),
        "residual-depth-rn1-nc1": power(rows, "depth", "nc1", 2),
        "residual-depth-rn1-falls": max(
            after[key] / before[key] for before, after in pairwise(rows) for key in ("gap", "nc1")
        ),
        "residual-depth-no-norm": math.log10(bare["nc1"] / same["nc1"]),
    }
    return outcome(values, rn1=rows, no_norm=bare)


def two_layers(settings: Plan, seed: int) -> Outcome:
    """L-RN2 under each decay."""
    net = partial(residual, 64, settings["width"], 10, linears=2, seed=seed)
    rows = {name: _rows(settings, net, settings["rn2"], seed, name) for name in DECAYS}
    slopes = [power(rows[name], "depth", "nc1") for name in DECAYS]
    values = {
        "residual-depth-rn2-stalls": power(rows["λ"], "depth", "gap"),
        "residual-depth-rn2-log2": slopes[2],
        "residual-depth-rn2-linear": slopes[3],
        "residual-depth-rn2-order": max(after - before for before, after in pairwise(slopes)),
    }
    return outcome(values, rn2=rows)


def transformers(settings: Plan, seed: int) -> Outcome:
    """L-Tx1 at constant decay, L-Tx2 at constant decay and at λ/L."""
    tokens = settings["tokens"]

    def arm(linears: int, decay: str) -> list[Row]:
        net = partial(transformer, tokens, 64 // tokens, settings["width"], 10, seed=seed)

        def make(depth: int) -> nn.Sequential:
            return flat(net(depth, linears=linears), tokens)

        return _rows(settings, make, settings[f"tx{linears}"], seed, decay, "token_")

    one, two, linear = arm(1, "λ"), arm(2, "λ"), arm(2, "λ/L")
    values = {
        "residual-depth-tx1-gap": power(one, "depth", "gap"),
        "residual-depth-tx1-nc1": power(one, "depth", "nc1"),
        "residual-depth-tx2-stalls": power(two, "depth", "gap"),
        "residual-depth-tx2-linear": power(linear, "depth", "nc1"),
    }
    return outcome(values, tx1=one, tx2={"λ": two, "λ/L": linear})


def _rows(
    settings: Plan, make: Make, depths: Sequence[int], seed: int, decay: str = "λ", kind: str = ""
) -> list[Row]:
    """A trained network of each depth; kind: before the names of `samples` and `steps`."""
    whole = digits(TEST_SHARE, seed)
    data = long_tailed(whole, (settings[f"{kind}samples"],) * whole.num_classes, seed)
    how = {"steps": settings[f"{kind}steps"], "learning_rate": settings["learning_rate"]}
    return [
        {"depth": L, **gap_row(make(L), data, DECAYS[decay](settings["decay"], L), **how)}
        for L in depths
    ]
