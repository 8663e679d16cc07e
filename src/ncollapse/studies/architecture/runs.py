"""Runs of the architecture study: one recipe, many networks, each beside the certified bound."""

from __future__ import annotations

import math
from typing import Any

from scipy.stats import spearmanr
from torch import nn

from ncollapse.lab.compared import certified_row
from ncollapse.lab.data import digits, long_tailed
from ncollapse.lab.networks import TEST_SHARE
from ncollapse.lab.statistics import power
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings, train
from ncollapse.studies.models import LINEAR, PLAIN, RELU, equals, free_mlp


def networks(settings: Plan, seed: int) -> Outcome:
    """Every network trained on the same samples, and read."""
    whole = digits(TEST_SHARE, seed)
    data = long_tailed(whole, (settings["samples"],) * whole.num_classes, seed)

    def row(model: nn.Sequential, **named: Any) -> dict[str, Any]:
        last = train(model, data, Settings.of(settings, seed=seed)).history[-1]
        errors = {"train_error": last.train_error, "test_error": last.test_error}
        return {**named, **errors, **certified_row(model, data)}

    wide = [row(free_mlp(width, seed=seed), width=width) for width in settings["widths"]]
    sizes = {key: settings[key] for key in ("width", "features", "channels", "resnet", "blocks")}
    kinds = {name: row(model, name=name) for name, model in equals(**sizes, seed=seed).items()}
    every = [*wide, *kinds.values()]
    values = {
        "architecture-width-gap": power(wide, "width", "gap"),
        "architecture-width-nc1": power(wide, "width", "nc1"),
        "architecture-all": max(
            one["nc1"] for name, one in kinds.items() if name not in (PLAIN, LINEAR)
        ),
        "architecture-plain": kinds[PLAIN]["nc1"],
        "architecture-norm": math.log10(kinds[PLAIN]["gap"] / kinds[RELU]["gap"]),
        "architecture-linear": math.log10(kinds[LINEAR]["gap"] / kinds[RELU]["gap"]),
        "architecture-order": float(
            spearmanr([one["gap"] for one in every], [one["nc1"] for one in every]).statistic
        ),
    }
    return outcome(values, widths=wide, kinds=list(kinds.values()))
