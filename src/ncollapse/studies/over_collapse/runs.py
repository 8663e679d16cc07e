"""Runs of the over-collapse study: one source network a remedy, few-shot on unseen digits."""

from __future__ import annotations

import math

from ncollapse.control.regularizers import CodingRate, KoLeo
from ncollapse.lab.control_parts import Penalty, penalised
from ncollapse.lab.held_out import source_network, transfer, transferred
from ncollapse.lab.models import penultimate
from ncollapse.lab.readings import few_shot, reading, reading_of
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings, train


def split(settings: Plan, seed: int) -> Outcome:
    """One split of digits into seen and unseen: three networks from one start."""
    digits, draws = transfer(settings["seen"], seed), settings["draws"]
    penalties: dict[str, Penalty | None] = {
        "none": None,
        "koleo": KoLeo(settings["koleo"]),
        "coding": CodingRate(settings["coding"]),
    }
    rows: dict[str, dict[str, float]] = {}
    for arm, penalty in penalties.items():
        model = source_network(digits, seed)
        loss = "ce" if penalty is None else penalised(model, penalty)
        last = train(model, digits.seen, Settings.of(settings, loss=loss, seed=seed)).history[-1]
        rows[arm] = {
            **transferred(model, digits, last, draws=draws, seed=seed),
            "source": 1 - last.test_error,
            "nc1": reading(model, digits.seen.loader("train")),
            "nc1_unseen": reading_of(penultimate(model, digits.unseen_x), digits.unseen_y),
        }
    plain, values = rows["none"], {}
    for arm in ("koleo", "coding"):
        for key in ("unseen", "source"):
            values[f"over-collapse-{arm}-{key}"] = 100 * (rows[arm][key] - plain[key])
        values[f"over-collapse-{arm}-nc1"] = math.log10(rows[arm]["nc1"] / plain["nc1"])
    pixels = few_shot(digits.unseen_x, digits.unseen_y, draws=draws, seed=seed)
    return outcome(values, classes=digits.classes, rows=rows, unseen_pixels=pixels)
