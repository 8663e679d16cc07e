"""Runs of the regression study: one network each, measured and laid beside the closed form."""

from __future__ import annotations

from typing import Any

import torch

from ncollapse.lab.models import penultimate
from ncollapse.lab.regression import DATA, How, train_regression
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.measuring.measure import measure_features
from ncollapse.metrics.nrc import nrc3
from ncollapse.theory.predict import predict_targets


def digits(settings: Plan, seed: int) -> Outcome:
    """Digits to image moments, with decay."""
    found = _network("digits", settings, seed, settings["decay"])
    values = _held("digits", found) | {
        f"regression-digits-{key}": found[key] / settings["declared"] for key in ("nrc1", "nrc2")
    }
    return outcome(values, **found)


def diabetes(settings: Plan, seed: int) -> Outcome:
    """Diabetes, with decay."""
    found = _network("diabetes", settings, seed, settings["decay"])
    return outcome(_held("diabetes", found), **found)


def bare(settings: Plan, seed: int) -> Outcome:
    """Digits without decay: the closed form has no say, and nothing collapses."""
    found = _network("digits", settings, seed, 0.0)
    values = {"regression-bare-nrc1": found["nrc1"], "regression-bare-nrc3": found["best"]}
    return outcome(values, **found)


def relu(settings: Plan, seed: int) -> Outcome:
    """Digits with decay, features after a ReLU."""
    found = _network("digits", settings, seed, settings["decay"], relu=True)
    values = {
        "regression-relu-error": found["error"],
        "regression-relu-gram": found["gram_gap"],
        "regression-relu-nrc1": found["nrc1"],
    }
    return outcome(values, **found)


def _held(data: str, found: dict[str, Any]) -> dict[str, float]:
    names = {
        "error": "error",
        "each": "each",
        "gram": "gram_gap",
        "nrc3": "nrc3",
        "spectrum": "ratio_gap",
        "roots": "spectrum_gap",
        "vectors": "alignment",
    }
    return {f"regression-{data}-{name}": found[key] for name, key in names.items()}


def _network(
    data: str, settings: Plan, seed: int, decay: float, *, relu: bool = False
) -> dict[str, Any]:
    """Readings of a trained network and its distances from the closed form, of decay 1 where it has
    none."""
    some = DATA[data]().first(settings["samples"])
    how = How(
        steps=settings["steps"],
        widths=tuple(settings["widths"]),
        decay=decay,
        relu=relu,
        seed=seed,
    )
    model = train_regression(some, how)
    head: Any = model[-1]
    measured = measure_features(
        penultimate(model, some.inputs).double(),
        some.targets.double(),
        weight=head.weight.detach(),
        bias=head.bias.detach(),
        null=False,
        intervals=False,
    )
    details = measured.document.config["details"]["train"]
    covariance = torch.tensor(details["covariance"], dtype=torch.float64)
    gram = torch.tensor(details["gram"], dtype=torch.float64)
    readings = ("nrc1", "nrc2", "nrc1_centred", "nrc_gamma", "nrc_explained", "target_error")
    found: dict[str, Any] = {key: measured.value(key) for key in readings}
    found |= {"best": measured.value("nrc3"), "alignment": measured.value("nrc_alignment")}
    theory = predict_targets(covariance, decay or 1.0, decay or 1.0)
    level = decay**2
    own, features = (
        torch.tensor(details[f"{name}_spectrum"], dtype=torch.float64)
        for name in ("gram", "feature")
    )
    gaps = theory.against(details)
    found |= {
        "measured": features[:3].tolist(),
        "predicted": theory.feature_spectrum.tolist(),
        "errors": details["errors"],
        "level": level,
        "gram_gap": gaps["gram_gap"],
        "spectrum_gap": gaps.get("spectrum_gap"),
        # λ_W/λ_H = 1.
        "ratio_gap": float((features[:3] / own[:3] - 1).abs().max()),
        "nrc3": float(nrc3(gram, covariance, level)) if decay else None,
    }
    if decay:
        ratios = torch.tensor(details["errors"], dtype=torch.float64) / level
        found |= {"error": float(ratios.mean()), "each": float((ratios - 1).abs().max())}
    return found
