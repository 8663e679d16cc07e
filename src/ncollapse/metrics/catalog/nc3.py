"""Rows of NC3, self-duality."""

from __future__ import annotations

from typing import Any

from ncollapse.metrics.catalog.nc1 import PAPYAN
from ncollapse.metrics.metric import Metric, Place, Without


def _row(key: str, **row: Any) -> Metric:
    """A row that reads means and weight, against random directions."""
    common: dict[str, Any] = {
        "family": "NC3",
        "function": f"ncollapse.metrics.nc3:{key}",
        "needs": ("means", "head"),
        "takes": ("geometry",),
        "null": "directions",
        "floor": Without("rounding moves it far less than the sampling of the means"),
        "interval": "samples",
        "estimate": f"ncollapse.metrics.population.frames:{key}",
        "scale": "square",
    }
    return Metric(key=key, **{**common, **row})


ROWS = (
    _row(
        "nc3_duality",
        aliases=("self-duality", "duality"),
        title="self-duality",
        formula="‖W/‖W‖_F - M/‖M‖_F‖_F",
        meaning="Distance between classifier and centred class means, each scaled to length one; "
        "unrelated directions read √2.",
        source=PAPYAN,
        upper=2.0,
        definitions={"macro": {}, "papyan2020": {}, "papyan2020_notebook": {"squared": True}},
        strip=Place("head off the means", 5),
        curve=Place("head off means", 3),
        followed=True,
    ),
    _row(
        "nc3_duality_raw",
        function="ncollapse.metrics.nc3:nc3_duality",
        title="self-duality, raw means",
        formula="‖W/‖W‖_F - A/‖A‖_F‖_F, A = raw class means",
        meaning="The same against raw means: small when the frame is orthogonal and not centred.",
        source=PAPYAN,
        upper=2.0,
        arguments={"means": "raw"},
    ),
    _row(
        "nc3_duality_centred",
        function="ncollapse.metrics.nc3:nc3_duality",
        title="self-duality of the centred classifier",
        formula="‖W̃/‖W̃‖_F - M/‖M‖_F‖_F, W̃ = W less its mean row",
        meaning="The same without the direction that all rows share and softmax cannot see: "
        "1 - NC3²/2 = √(1 - NC0)(1 - NC3c²/2).",
        source="this library",
        upper=2.0,
        arguments={"weight": "centred"},
        definitions={"macro": {}, "papyan2020_notebook": {"squared": True}},
        followed=True,
    ),
    _row(
        "nc3_alignment",
        aliases=("alignment",),
        scale="plain",
        directions=("means", "weight"),
        title="classifier-mean cosine",
        formula="mean over classes of cos(w_c, m_c)",
        meaning="Mean cosine between a class's classifier row and its centred mean.",
        source=PAPYAN,
        ideal=1.0,
        direction="up",
        lower=-1.0,
        upper=1.0,
        terminal=Place("NC3 head ~ means cos", 7),
        followed=True,
    ),
    _row(
        "nc3_product",
        title="distance of WMᵀ to the simplex",
        formula="‖WMᵀ/‖WMᵀ‖_F - E‖_F",
        meaning="Zero only when classifier and means are dual and form a simplex.",
        source="Zhu et al. 2021",
        upper=2.0,
        cost="K² d or K d²",
        definitions={"macro": {}, "zhu2021": {}, "zhou2022": {"centred": True}},
    ),
    _row(
        "nc3_balance",
        title="balance of classifier and means",
        formula="‖W̃ᵀW̃/‖W̃ᵀW̃‖_F - MᵀM/‖MᵀM‖_F‖_F, rows less their means",
        meaning="Whether classifier and class means have one covariance over features, which "
        "duality implies and which asks for no match of rows with classes.",
        source="Arora, Cohen, Hazan 2018; Tirer, Bruna 2022 (remembered, not read)",
        upper=2**0.5,
        cost="K d² or K² d",
        along=Place("balance with the head", 4),
        followed=True,
    ),
)
