"""Rows of NC4, nearest-class-centre decisions, and of the margins beside them."""

from __future__ import annotations

from typing import Any

from ncollapse.metrics.catalog.nc1 import PAPYAN
from ncollapse.metrics.metric import Metric, Place, Without

_SHARES: dict[str, Any] = {
    "null": "guesses",
    "floor": Without("a share of samples is a multiple of 1/N"),
    "interval": "shares",
    "upper": 1.0,
    "unit": "percent",
}
# Distances to means without the sample itself and without their noise, or plainly to the means.
_CENTRES: dict[str, dict[str, Any]] = {"macro": {}, "papyan2020": {"plain": True}}
_MARGINS: dict[str, Any] = {
    "null": Without("margins have the unit of the logits, and no noise that they compare with"),
    "floor": Without("margins have the unit of the logits"),
    "interval": Without("their spread over samples is not kept"),
    "lower": None,
}


def _row(key: str, **row: Any) -> Metric:
    common: dict[str, Any] = {
        "family": "NC4",
        "function": f"ncollapse.metrics.nc4:{key}",
        "needs": ("decisions", "head"),
        "takes": ("decisions",),
        "source": "standard",
        "ideal": None,
        "direction": "up",
        "cost": "N K d",
    }
    return Metric(key=key, **{**common, **row})


ROWS = (
    _row(
        "nc4_mismatch",
        aliases=("NCC", "nearest class center", "nearest class centre", "NCC mismatch"),
        title="head against nearest centre",
        needs=("decisions", "decided"),
        formula="share of samples with argmax(Wh + b) ≠ argmin ‖h - μ_c‖",
        meaning="How often the classifier and the nearest training class centre disagree; at a "
        "layer before the last one, how often the model and that layer's nearest centre do.",
        **{**_SHARES, "source": PAPYAN, "ideal": 0.0, "direction": "down"},
        definitions=_CENTRES,
        terminal=Place("NC4 head not nearest", 8),
        strip=Place("head not nearest", 6),
        layers=Place("≠ model", 5),
        followed=True,
    ),
    _row(
        "accuracy",
        title="accuracy of the head",
        formula="share of samples with argmax(Wh + b) = y",
        meaning="Read it first: collapse of a network that has not learnt its data means little.",
        **_SHARES,
        followed=True,
    ),
    _row(
        "ncc_accuracy",
        aliases=("nearest class mean", "NCM"),
        title="accuracy of the nearest centre",
        needs=("decisions",),
        formula="share of samples with argmin ‖h - μ_c‖ = y",
        meaning="What the class means alone can classify; each training sample is left out of its "
        "own mean, and distances lose the noise of their mean.",
        **_SHARES,
        definitions=_CENTRES,
        terminal=Place("    nearest accuracy", 9),
        layers=Place("nearest", 3),
        followed=True,
    ),
    _row(
        "margin_min",
        title="smallest margin",
        formula="min over samples of z_y - max_{j≠y} z_j",
        meaning="The logit margin of the worst sample; positive when all are right.",
        **_MARGINS,
        followed=True,
    ),
    _row(
        "margin_mean",
        title="mean margin",
        formula="mean over samples of z_y - max_{j≠y} z_j",
        meaning="The mean logit margin.",
        **_MARGINS,
    ),
)
