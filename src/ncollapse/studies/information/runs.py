"""Runs of the information study: along training with decay and without, and at collapse."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ncollapse.downstream.calibration import calibration
from ncollapse.downstream.information import residual_gaussianity
from ncollapse.downstream.plane import KEYS, NHSIC_INPUT, NHSIC_LABEL, InformationPlane
from ncollapse.geometry import Geometry
from ncollapse.lab.data import Dataset, digits
from ncollapse.lab.grokking import HEAD, curves_of, follow, large_digits
from ncollapse.lab.informed import informed, moved_means, off_entropy
from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.networks import WIDTHS, read
from ncollapse.lab.samples import subset
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings, train
from ncollapse.metrics.interpolation import Split
from ncollapse.metrics.nc2 import nc2_etf


def along_training(settings: Plan, seed: int) -> Outcome:
    """The information plane of held-out samples, with decay and without."""
    plan = settings["training"]
    data = {name: _followed(plan, decay, seed) for name, decay in _arms(plan)}
    falls = {name: {key: _fall(row[key]) for key in KEYS[:2]} for name, row in data.items()}
    mine = falls["decay"]
    values = {
        "information-falls": mine[NHSIC_INPUT],
        "information-apart": mine[NHSIC_INPUT] - 2 * mine[NHSIC_LABEL],
        "information-undecayed": falls["none"][NHSIC_INPUT],
    }
    return outcome(values, falls=falls, **data)


def _arms(plan: Any) -> tuple[tuple[str, float], ...]:
    return ("decay", plan["decay"]), ("none", 0.0)


def _followed(plan: Any, decay: float, seed: int) -> dict[str, list[float]]:
    model, data = large_digits(plan["samples"], plan["width"], seed)
    plane = InformationPlane({"test": data.loader("test")}, layers=(HEAD,))
    how = {name: plan[name] for name in ("steps", "learning_rate")}
    found = follow(model, data, decay, watch=[plane], **how)
    keys = {key: ("test", key, HEAD) for key in (*KEYS, "accuracy")}
    return curves_of(found, keys)


def _fall(values: list[float]) -> float:
    return 1 - values[-1] / values[0]


def collapsed(settings: Plan, seed: int) -> Outcome:
    """A collapsed network, the same residuals about other means, and the network at its start."""
    plan = settings["collapsed"]
    data = subset(digits(seed=seed), plan["samples"], seed)
    assert isinstance(data, Dataset)
    inputs, labels = data.loader("train")
    model = mlp(data.num_features, WIDTHS, data.num_classes, seed=seed)
    start = Split.of(penultimate(model, inputs), labels)
    how = {"epochs": plan["epochs"], "weight_decay": plan["decay"]}
    last = train(model, data, Settings(seed=seed, **how)).history[-1]
    end = Split.of(penultimate(model, inputs), labels)
    moved = moved_means(end.means, seed)
    shown = {
        "start": informed(start.means, start),
        "end": informed(end.means, end),
        "distorted": informed(moved, end),
    }
    before = shown["start"].input
    values = {
        "information-start": before.lower / before.ceiling,
        "information-minimal": off_entropy(shown["end"]),
        "information-distorted": off_entropy(shown["distorted"]),
        "information-distorted-frame": float(nc2_etf(Geometry(moved))),
    }
    gaussian = {
        name: asdict(residual_gaussianity(part.means[labels] + part.rest, labels))
        for name, part in (("start", start), ("end", end))
    }
    seen = {name: asdict(one) for name, one in shown.items()}
    found = calibration(model(data.test_x), data.test_y)
    more = {"nc1": read(model, data)[1], "train_error": last.train_error}
    return outcome(
        values,
        gaussianity=gaussian,
        calibration=asdict(found),
        verdict=found.verdict,
        **more,
        **seen,
    )
