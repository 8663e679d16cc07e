"""Runs of the transfer study: networks of growing collapse on six digits, read on four others."""

from __future__ import annotations

import math
import warnings
from typing import Any

from scipy.stats import spearmanr

from ncollapse.control.regularizers import CodingRate, KoLeo
from ncollapse.control.thermostat import Thermostat
from ncollapse.errors import NCollapseWarning
from ncollapse.lab.control_parts import Dial, penalised
from ncollapse.lab.held_out import Transfer, source_network, transfer
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.onward import INPUT, onward, remedied
from ncollapse.lab.statistics import slope
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Loss, Settings, train

FIRST, BAR = "relu0", (0.5, 3.4)


def split(settings: Plan, seed: int) -> Outcome:
    """One split of digits into seen and unseen: all degrees, and remedies for the last one."""
    digits, draws = transfer(settings["seen"], seed), settings["draws"]
    rows = []
    for epochs, decay in settings["degrees"]:
        model, row = _network(digits, epochs, decay, settings, seed)
        rows.append(row)
    strong, (epochs, decay) = rows[-1], settings["degrees"][-1]
    after = remedied(model, digits, share=settings["share"], draws=draws, seed=seed)
    arms = {
        arm: _network(digits, epochs, decay, settings, seed, arm)[1]
        for arm in ("koleo", "coding", "thermostat")
    }
    every = [*rows, *arms.values()]
    errors = [1 - row["unseen"] for row in every]
    decades = [math.log10(row["nc1"]) for row in rows]
    spread = strong["accuracy"]
    values = {
        "transfer-degree": 100 * slope(decades, [row["unseen"] for row in rows]),
        "transfer-first-layer": 100 * slope(decades, [row["accuracy"][FIRST] for row in rows]),
        "transfer-layer": 100 * (spread[FIRST] - strong["unseen"]),
        "transfer-input": 100 * (spread[INPUT] - strong["unseen"]),
        "transfer-energy": 100 * slope(decades, [row["energy"] for row in rows]),
        "transfer-neco": 100 * slope(decades, [row["neco"] for row in rows]),
        "transfer-target-nc1": _ranked([row["target_nc1"] for row in rows], errors[: len(rows)]),
        "transfer-complexity-degree": _ranked(
            [row["complexity"] for row in rows], errors[: len(rows)]
        ),
        "transfer-pca": 100 * (after["pca"] - after["none"]),
        "transfer-whitening": 100 * (after["whitening"] - after["none"]),
        **{
            f"transfer-{arm}": 100 * (row["unseen"] - strong["unseen"]) for arm, row in arms.items()
        },
        "transfer-koleo-nc1": math.log10(arms["koleo"]["nc1"] / strong["nc1"]),
        "transfer-koleo-regions": strong["gap"] - arms["koleo"]["gap"],
        "transfer-koleo-entropy": arms["koleo"]["entropy"] - strong["entropy"],
        "transfer-sharp-below": sum(row["sharp_many"] < 1 for row in every),
        "transfer-published": min(row["published_many"] for row in every),
        "transfer-vacuous": min(row["cdnv_many"] for row in every),
        "transfer-bounded": max(
            error - min(1, row["sharp"]) for error, row in zip(errors, every, strict=True)
        ),
        "transfer-rank": _ranked([row["sharp"] for row in every], errors),
        "transfer-normal": max(
            (row["normal"] / error for error, row in zip(errors, every, strict=True)), key=_outside
        ),
    }
    return outcome(values, classes=digits.classes, rows=rows, arms=arms, after=after)


def _outside(value: float) -> float:
    """How far a ratio lies outside the bar, in logarithms."""
    return max(math.log(BAR[0] / value), math.log(value / BAR[1]))


def rates(settings: Plan, seed: int) -> Outcome:
    """Networks without batch normalisation that differ in learning rate alone."""
    digits = transfer(settings["seen"], seed)
    rows = []
    for rate in settings["rates"]:
        model = mlp(64, WIDTHS, digits.seen.num_classes, batch_norm=False, seed=seed)
        how = Settings(
            epochs=settings["rate_epochs"], learning_rate=rate, weight_decay=5e-4, seed=seed
        )
        last = train(model, digits.seen, how).history[-1]
        row = _read(model, digits, settings, seed)
        rows.append({"rate": rate, "source": 1 - last.test_error, **row})
    errors = [1 - row["unseen"] for row in rows]
    values = {"transfer-complexity-rate": _ranked([row["complexity"] for row in rows], errors)}
    return outcome(values, rows=rows)


def _network(
    digits: Transfer,
    epochs: int,
    decay: float,
    settings: Plan,
    seed: int,
    arm: str = "",
) -> tuple[Any, dict[str, Any]]:
    """A trained network and what it reads; arm: what is pushed against collapse."""
    model = source_network(digits, seed)
    loss: str | Loss = "ce"
    if arm == "koleo":
        loss = penalised(model, KoLeo(settings["koleo"]))
    elif arm == "coding":
        loss = penalised(model, CodingRate(settings["coding"]))
    elif arm:
        loss = Dial(model, Thermostat(settings["point"])).loss
    how = Settings(epochs=epochs, weight_decay=decay, loss=loss, seed=seed)
    with warnings.catch_warnings():
        # A set point out of reach is a result here.
        warnings.simplefilter("ignore", NCollapseWarning)
        last = train(model, digits.seen, how).history[-1]
    row = _read(model, digits, settings, seed)
    found = {"epochs": epochs, "decay": decay, "source": 1 - last.test_error, **row}
    return model, found


def _read(model: Any, digits: Transfer, settings: Plan, seed: int) -> dict[str, Any]:
    return onward(model, digits, draws=settings["draws"], seed=seed, around=settings["around"])


def _ranked(first: list[float], second: list[float]) -> float:
    """Spearman's correlation; of two values its sign, 0 where one of them does not vary."""
    found = float(spearmanr(first, second)[0])
    return 0.0 if math.isnan(found) else found
