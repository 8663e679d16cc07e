"""Runs of the thermostat study: one network a set point and one without, from the same start."""

from __future__ import annotations

import math
import warnings

import numpy as np

from ncollapse.control.thermostat import Thermostat
from ncollapse.errors import NCollapseWarning
from ncollapse.lab.control_parts import Dial
from ncollapse.lab.held_out import Transfer, source_network, transfer, transferred
from ncollapse.lab.models import penultimate
from ncollapse.lab.readings import NC1, RATIO, along_means
from ncollapse.lab.statistics import slope
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings, train

NEAR = 0.35


def dial(settings: Plan, seed: int) -> Outcome:
    """All set points on one split of digits into seen and unseen."""
    digits = transfer(settings["seen"], seed)
    plain = _train(settings, digits, seed, None)
    rows = [_train(settings, digits, seed, point) for point in settings["points"]]
    values = {
        "thermostat-median": 100 * max(abs(row["median"] / row["point"] - 1) for row in rows),
        "thermostat-epochs": 100 * min(row["near"] for row in rows),
        "thermostat-online": 100 * max(abs(row["online_ratio"] - 1) for row in rows),
        "thermostat-accuracy": 100 * max(plain["accuracy"] - row["accuracy"] for row in rows),
        "thermostat-unseen": _rise(rows),
    }
    return outcome(values, classes=digits.classes, plain=plain, rows=rows)


def ratio(settings: Plan, seed: int) -> Outcome:
    """No claim: the same with thermostats of nc1_ratio, which sees spread in all directions."""
    digits = transfer(settings["seen"], seed)
    rows = [_train(settings, digits, seed, point, RATIO) for point in settings["ratios"]]
    return outcome(rows=rows, slope=_rise(rows))


def _rise(rows: list[Outcome]) -> float:
    """Points of accuracy on unseen digits that a decade of the set point brings."""
    return 100 * slope([math.log10(row["point"]) for row in rows], [r["unseen"] for r in rows])


def _train(
    settings: Plan, digits: Transfer, seed: int, point: float | None, metric: str = NC1
) -> Outcome:
    """One network; `point` None trains without a thermostat."""
    model = source_network(digits, seed)
    watch = Dial(model, None if point is None else Thermostat(point, metric))
    with warnings.catch_warnings():
        # Out of reach is a result here; it is kept below.
        warnings.simplefilter("ignore", NCollapseWarning)
        how = Settings.of(settings, loss=watch.loss, seed=seed)
        last = train(model, digits.seen, how, [watch]).history[-1]
    third = max(1, settings["epochs"] // 3)
    readings = np.array(watch.readings[-third:])
    inputs, labels = digits.seen.loader("train")
    along, share = along_means(penultimate(model, inputs), labels)
    row: Outcome = {
        **transferred(model, digits, last, draws=settings["draws"], seed=seed),
        "point": point,
        "along_means": along,
        "share_along_means": share,
        "readings": watch.readings,
        "median": float(np.median(readings)),
        "accuracy": 1 - last.test_error,
    }
    if watch.thermostat is not None and point is not None:
        row |= {
            "near": float(np.mean(np.abs(readings / point - 1) <= NEAR)),
            "online": watch.online,
            "online_ratio": float(np.nanmedian(watch.online[-third:])) / row["median"],
            "weights": watch.weights,
            "saturated": watch.thermostat.saturated,
        }
    return row
