"""Runs of the architecture study: one recipe, many networks, each beside the certified bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ncollapse.lab.control_networks import small_resnet
from ncollapse.lab.data import Dataset, digits, long_tailed
from ncollapse.lab.models import conv, mlp, penultimate, topped
from ncollapse.lab.networks import TEST_SHARE, head, read
from ncollapse.lab.statistics import slope
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings, train
from ncollapse.losses import CrossEntropy
from ncollapse.metrics.catalog import METRICS
from ncollapse.studies.models import flat, transformer
from ncollapse.theory.certificate import certify
from ncollapse.theory.subjects.fit import fit_tau

KEYS = ("nc2_etf_means", "nc2_etf_weights", "nc3_duality")
BASE, PLAIN, LINEAR = "ReLU, BatchNorm", "ReLU, none", "linear, BatchNorm"
Make = Callable[[int], nn.Sequential]
Row = dict[str, Any]


def networks(settings: Plan, seed: int) -> Outcome:
    """Every network trained on the same samples, and read."""
    data = digits(TEST_SHARE, seed)
    data = long_tailed(data, (settings["samples"],) * data.num_classes, seed)
    wide = [
        _row(str(width), _mlp(width)(seed), data, settings, seed) for width in settings["widths"]
    ]
    rows = {
        name: _row(name, make(seed), data, settings, seed)
        for name, make in _kinds(settings).items()
    }
    logs = [math.log(width) for width in settings["widths"]]
    collapsing = [row["nc1"] for name, row in rows.items() if name not in (PLAIN, LINEAR)]
    values = {
        "architecture-width-gap": slope(logs, [math.log(row["gap"]) for row in wide]),
        "architecture-width-nc1": slope(logs, [math.log(row["nc1"]) for row in wide]),
        "architecture-all": max(collapsing),
        "architecture-plain": rows[PLAIN]["nc1"],
        "architecture-norm": math.log10(rows[PLAIN]["gap"] / rows[BASE]["gap"]),
        "architecture-linear": math.log10(rows[LINEAR]["gap"] / rows[BASE]["gap"]),
        "architecture-order": _ranks([*wide, *rows.values()]),
    }
    return outcome(values, widths=wide, kinds=list(rows.values()))


# ---- the networks: features of either sign, no bias in the head ----------------------------------
def _mlp(width: int, **settings: Any) -> Make:
    return lambda seed: mlp(
        64, (width,) * 3, 10, bias=False, last_relu=False, seed=seed, **settings
    )


def _kinds(settings: Plan) -> Mapping[str, Make]:
    """By name; activation and normalisation, or the kind of network."""
    width, features, tokens = settings["width"], settings["features"], settings["tokens"]
    return {
        BASE: _mlp(width),
        "GELU, BatchNorm": _mlp(width, activation=nn.GELU),
        "tanh, BatchNorm": _mlp(width, activation=nn.Tanh),
        LINEAR: _mlp(width, activation=nn.Identity),
        "ReLU, LayerNorm": _mlp(width, batch_norm=False, layer_norm=True),
        PLAIN: _mlp(width, batch_norm=False),
        "CNN": lambda seed: topped(
            conv(features, settings["channels"], seed=seed), features, 10, seed=seed
        ),
        "ResNet": lambda seed: topped(
            small_resnet(features, settings["resnet"], seed), features, 10, seed=seed
        ),
        "transformer": lambda seed: flat(
            transformer(tokens, 64 // tokens, 64, 10, settings["blocks"], linears=2, seed=seed),
            tokens,
        ),
    }


# ---- a network, trained and read ----------------------------------------------------------------
def _row(name: str, model: nn.Sequential, data: Dataset, settings: Plan, seed: int) -> Row:
    """Numbers of a network after training."""
    last = train(model, data, Settings.of(settings, seed=seed)).history[-1]
    geometry, nc1 = read(model, data)
    found: Row = {"name": name, "train_error": last.train_error, "test_error": last.test_error}
    found |= {key: float(METRICS[key].evaluate(geometry=geometry)) for key in KEYS}
    tau = fit_tau(geometry, loss="ce", bias="none").tau
    features = penultimate(model, data.train_x)
    gap = relative_gap(head(model).weight.detach(), features, data.train_y, tau)
    return {**found, "nc1": nc1, "tau": tau, "gap": gap}


def relative_gap(weight: Tensor, features: Tensor, labels: Tensor, tau: float) -> float:
    """(f - bound)/f of cross-entropy without a bias at λ_W = λ_H = τ/√N, in [0, 1].

    W and H are brought to one norm first, (W/a)(aH): logits stay, and of all such pairs theirs has
    the least decay. So the gap does not depend on how a network shares scale between the two.
    """
    weight, features = weight.double(), features.double()
    scale = (weight.norm() / features.norm()).sqrt()
    decay = tau / math.sqrt(len(features))
    found = certify(
        weight / scale,
        features * scale,
        labels,
        weight_decay=decay,
        feature_decay=decay,
        loss=CrossEntropy(),
    )
    return found.gap / found.objective


def _ranks(rows: list[Row]) -> float:
    """Spearman's correlation of gap and NC1."""
    from scipy.stats import spearmanr

    found = spearmanr([row["gap"] for row in rows], [row["nc1"] for row in rows])
    return float(found.statistic)
