"""Runs of the over-collapse study: one source network a remedy, few-shot on unseen digits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ncollapse.control.regularizers import CodingRate, KoLeo
from ncollapse.lab.control_parts import (
    RATIO,
    Penalty,
    few_shot,
    penalised,
    reading,
    reading_of,
    transfer,
)
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.study import Units
from ncollapse.lab.train import Settings, train

NAMES = {"none": "cross-entropy", "koleo": "with KoLeo", "coding": "with coding rate"}
SHOTS = 5


def split(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One split of digits into seen and unseen: three networks from one start."""
    digits = transfer(settings["seen"], seed)
    penalties: dict[str, Penalty | None] = {
        "none": None,
        "koleo": KoLeo(settings["koleo"]),
        "coding": CodingRate(settings["coding"]),
    }
    rows: dict[str, dict[str, float]] = {}
    for arm, penalty in penalties.items():
        model = mlp(digits.seen.num_features, WIDTHS, settings["seen"], seed=seed)
        how = Settings(
            epochs=settings["epochs"],
            batch_size=settings["batch_size"],
            weight_decay=settings["weight_decay"],
            loss="ce" if penalty is None else penalised(model, penalty),
            seed=seed,
        )
        last = train(model, digits.seen, how).history[-1]
        features = penultimate(model, digits.unseen_x)
        rows[arm] = {
            "unseen": few_shot(
                features, digits.unseen_y, shots=SHOTS, draws=settings["draws"], seed=seed
            ),
            "source": 1 - last.test_error,
            "train_error": last.train_error,
            "nc1": reading(model, digits.seen.loader("train")),
            "nc1_ratio": reading(model, digits.seen.loader("train"), RATIO),
            "nc1_unseen": reading_of(features, digits.unseen_y),
        }
    inputs = few_shot(
        digits.unseen_x, digits.unseen_y, shots=SHOTS, draws=settings["draws"], seed=seed
    )
    values = {}
    for arm in ("koleo", "coding"):
        one, plain = rows[arm], rows["none"]
        values[f"over-collapse-{arm}-unseen"] = 100 * (one["unseen"] - plain["unseen"])
        values[f"over-collapse-{arm}-source"] = 100 * (one["source"] - plain["source"])
        values[f"over-collapse-{arm}-nc1"] = math.log10(one["nc1"] / plain["nc1"])
    return {
        "values": values,
        "data": {"classes": digits.classes, "rows": rows, "unseen_pixels": inputs},
    }


def draw(units: Units) -> dict[str, Any]:
    """5-shot accuracy on unseen digits against NC1 of the seen ones, in two metrics."""
    if not units["split"]:
        return {}
    said = "5-shot accuracy on unseen digits against collapse of the seen ones, by training loss"
    return {
        "transfer": (f"{said}: nc1_fisher", _scatter(units, "nc1", "nc1_fisher")),
        "transfer-ratio": (f"{said}: nc1_ratio", _scatter(units, "nc1_ratio", "nc1_ratio")),
    }


def _scatter(units: Units, key: str, name: str) -> Any:
    from ncollapse.lab.figures import axes, finish

    figure, area, ink = axes(f"{name} of the seen classes", "5-shot accuracy, unseen", "x")
    for (arm, label), colour in zip(NAMES.items(), ink.all, strict=False):
        rows = [unit["rows"][arm] for unit in units["split"]]
        area.plot([r[key] for r in rows], [r["unseen"] for r in rows], "o", color=colour,
                  label=label)  # fmt: skip
    pixels = [unit["unseen_pixels"] for unit in units["split"]]
    area.axhline(sum(pixels) / len(pixels), color=ink.faint, linestyle="--", label="on pixels")
    return finish(figure, area)
