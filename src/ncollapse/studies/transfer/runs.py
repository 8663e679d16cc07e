"""Runs of the transfer study: networks of growing collapse on six digits, read on four others."""

from __future__ import annotations

import math

from scipy.stats import spearmanr

from ncollapse.lab.held_out import transfer
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.onward import INPUT, remedied
from ncollapse.lab.remedied import ARMS, read, source
from ncollapse.lab.statistics import slope
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings, train

FIRST, BAR = "relu0", (0.5, 3.4)


def split(settings: Plan, seed: int) -> Outcome:
    """One split of digits into seen and unseen: all degrees, and remedies for the last one."""
    digits, draws = transfer(settings["seen"], seed), settings["draws"]
    found = [source(digits, how, settings, seed) for how in settings["degrees"]]
    model, rows = found[-1][0], [row for _, row in found]
    strong, how = rows[-1], settings["degrees"][-1]
    after = remedied(model, digits, share=settings["share"], draws=draws, seed=seed)
    arms = {arm: source(digits, how, settings, seed, arm)[1] for arm in ARMS}
    every, koleo, spread = [*rows, *arms.values()], arms["koleo"], strong["accuracy"]
    errors = [1 - row["unseen"] for row in every]
    plain = errors[: len(rows)]
    decades = [math.log10(row["nc1"]) for row in rows]

    def rise(key: str) -> float:
        """Points a decade of NC1."""
        return 100 * slope(decades, [row[key] for row in rows])

    values = {
        "transfer-degree": rise("unseen"),
        "transfer-first-layer": 100 * slope(decades, [row["accuracy"][FIRST] for row in rows]),
        "transfer-layer": 100 * (spread[FIRST] - strong["unseen"]),
        "transfer-input": 100 * (spread[INPUT] - strong["unseen"]),
        "transfer-energy": rise("energy"),
        "transfer-neco": rise("neco"),
        "transfer-target-nc1": _ranked([row["target_nc1"] for row in rows], plain),
        "transfer-complexity-degree": _ranked([row["complexity"] for row in rows], plain),
        "transfer-pca": 100 * (after["pca"] - after["none"]),
        "transfer-whitening": 100 * (after["whitening"] - after["none"]),
        **{f"transfer-{a}": 100 * (arms[a]["unseen"] - strong["unseen"]) for a in ARMS},
        "transfer-koleo-nc1": math.log10(koleo["nc1"] / strong["nc1"]),
        "transfer-koleo-regions": strong["gap"] - koleo["gap"],
        "transfer-koleo-entropy": koleo["entropy"] - strong["entropy"],
        "transfer-sharp-below": sum(row["sharp_many"] < 1 for row in every),
        "transfer-published": min(row["published_many"] for row in every),
        "transfer-vacuous": min(row["cdnv_many"] for row in every),
        "transfer-bounded": max(
            e - min(1, row["sharp"]) for e, row in zip(errors, every, strict=True)
        ),
        "transfer-rank": _ranked([row["sharp"] for row in every], errors),
        "transfer-normal": max(
            (row["normal"] / e for e, row in zip(errors, every, strict=True)), key=_outside
        ),
    }
    return outcome(values, classes=digits.classes, rows=rows, arms=arms, after=after)


def rates(settings: Plan, seed: int) -> Outcome:
    """Networks without batch normalisation that differ in learning rate alone."""
    digits, epochs = transfer(settings["seen"], seed), settings["rate_epochs"]
    rows = []
    for rate in settings["rates"]:
        model = mlp(64, WIDTHS, digits.seen.num_classes, batch_norm=False, seed=seed)
        how = Settings(epochs=epochs, learning_rate=rate, weight_decay=5e-4, seed=seed)
        last = train(model, digits.seen, how).history[-1]
        row = read(model, digits, settings, seed)
        rows.append({"rate": rate, "source": 1 - last.test_error, **row})
    errors = [1 - row["unseen"] for row in rows]
    values = {"transfer-complexity-rate": _ranked([row["complexity"] for row in rows], errors)}
    return outcome(values, rows=rows)


def _outside(value: float) -> float:
    """How far a ratio lies outside the bar, in logarithms."""
    return max(math.log(BAR[0] / value), math.log(value / BAR[1]))


def _ranked(first: list[float], second: list[float]) -> float:
    """Spearman's correlation; 0 where one of the two does not vary."""
    found = float(spearmanr(first, second)[0])
    return 0.0 if math.isnan(found) else found
