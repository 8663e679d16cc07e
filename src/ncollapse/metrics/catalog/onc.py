"""Rows of ONC, collapse of ordered grades. The normalisations are this library's."""

from __future__ import annotations

from typing import Any

from ncollapse.metrics.catalog.nc1 import OURS
from ncollapse.metrics.metric import ALONE, Metric, Place, Without

AFTER = f"{OURS}, after Ma, Obuchi, Tanaka 2025 (remembered, not read)"
_SHARE = Without("it is a share of variance; below about 1e-14 it is rounding")
_HEADED: dict[str, Any] = {
    "null": Without("a head that reads nothing has no scores to compare with"),
    "floor": Without("scores are exact to rounding of the features"),
}


def _row(key: str, **row: Any) -> Metric:
    common: dict[str, Any] = {
        "family": "ONC",
        "task": "ordinal",
        "function": f"ncollapse.metrics.onc:{key}",
        "takes": ("geometry", "latent"),
        "needs": ("means", "latent"),
        "source": AFTER,
    }
    return Metric(key=key, **{**common, **row})


ROWS = (
    _row(
        "onc1",
        title="ONC1, variance within over between grades",
        function="ncollapse.metrics.nc1:nc1_ratio",
        needs=("means", "trace"),
        takes=("statistics", "geometry"),
        formula="tr Σ_W / tr Σ_B",
        meaning="How little features vary within grades, over how far their means lie apart.",
        null="shuffled",
        floor="rounding",
        interval="samples",
        estimate="ncollapse.metrics.population.nc1:nc1_ratio",
        scale="log",
        definitions={"macro": {"weighting": "macro"}, "micro": {"weighting": "micro"}},
        terminal=Place("ONC1 within/between", 30),
        followed=True,
        undefined=ALONE,
    ),
    _row(
        "onc2_rank",
        title="ONC2-1, variance of means off one line",
        needs=("means",),
        takes=("geometry",),
        formula="1 - σ₁²/Σ σ² of centred class means",
        meaning="Share of the variance of class means that lies off their best line; 0 for means "
        "on one line, and always for two grades.",
        null="shuffled",
        floor=_SHARE,
        interval=Without("the least directions of a few means are too much of their noise"),
        upper=1.0,
        unit="percent",
        terminal=Place("ONC2 means off a line", 31),
        followed=True,
        undefined="all class means coincide",
    ),
    _row(
        "onc2_alignment",
        title="ONC2-2, energy that the head does not read",
        needs=("means", "full", "latent"),
        takes=("statistics", "geometry", "latent"),
        formula="1 - Σ (h·ŵ)²/Σ ‖h‖²",
        meaning="Share of the features' energy that is off the head's direction.",
        **{**_HEADED, "floor": _SHARE},
        interval=Without("scatters of parts of the samples are not kept"),
        upper=1.0,
        unit="percent",
        terminal=Place("ONC2 not along w", 32),
        followed=True,
        undefined="Σ_W was not kept (mode trace), or every feature is 0",
    ),
    _row(
        "onc3",
        title="ONC3, distance from theory's places",
        takes=("statistics", "geometry", "latent"),
        formula="mean |z̄_q - z⁰_q| / mean (b_q - b_{q-1})",
        meaning="How far the grades' mean scores lie from where theory puts them without decay "
        "(the middles of their intervals for symmetric links), in widths of an interval.",
        **_HEADED,
        interval=Without("differences that fold at 0 have no plain interval; positions are listed"),
        terminal=Place("ONC3 off their places", 33),
        followed=True,
    ),
    _row(
        "onc3_order",
        title="grades in order",
        formula="share of neighbours with z̄_q < z̄_{q+1}",
        meaning="Whether mean scores ascend with the grades.",
        **_HEADED,
        interval=Without("it is a flag of a few neighbours"),
        ideal=1.0,
        direction="up",
        upper=1.0,
        unit="percent",
        terminal=Place("    neighbours ascend", 34),
        followed=True,
    ),
)
