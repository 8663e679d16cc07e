"""Rows of multi-label collapse: those of classes over samples with one label, and tags."""

from __future__ import annotations

from typing import Any

from ncollapse.metrics.catalog.nc1 import OURS, PAPYAN
from ncollapse.metrics.metric import ALONE, Metric, Place, Without

LI = "Li et al. 2024 (abstract and code read)"
_NOISE = Without("rounding moves it far less than the sampling of the means")
_SETS: dict[str, Any] = {
    "family": "tags",
    "needs": ("means", "tags"),
    "takes": ("tags",),
    "null": Without("ml_tag_other reads the same of other sets of as many labels"),
    "floor": _NOISE,
    "interval": Without("label sets are few and their means share samples of no set"),
    "estimate": Without("the noise of single-label means enters means and sums alike"),
}


def _row(key: str, **row: Any) -> Metric:
    common: dict[str, Any] = {"family": "ML", "task": "multilabel", "takes": ("geometry",)}
    return Metric(key=key, **{**common, **row})


ROWS = (
    _row(
        "ml_nc1",
        title="within over between, one label",
        function="ncollapse.metrics.nc1:nc1_ratio",
        needs=("means", "trace"),
        takes=("statistics", "geometry"),
        formula="tr Σ_W / tr Σ_B over samples with one label",
        meaning="How little features of one label vary, over how far the labels lie apart.",
        source=PAPYAN,
        null="shuffled",
        floor="rounding",
        interval="samples",
        estimate="ncollapse.metrics.population.nc1:nc1_ratio",
        scale="log",
        definitions={"macro": {"weighting": "macro"}, "micro": {"weighting": "micro"}},
        terminal=Place("NC1 within/between, m=1", 1),
        undefined=ALONE,
    ),
    _row(
        "ml_nc2",
        title="distance to the simplex, one label",
        function="ncollapse.metrics.nc2:nc2_etf",
        needs=("means",),
        formula="‖G/‖G‖_F - E‖_F, G = MMᵀ of samples with one label",
        meaning="How far the means of single labels are from a simplex frame.",
        source=LI,
        null="directions",
        floor="ncollapse.metrics.nc2:simplex_floor",
        interval="samples",
        estimate="ncollapse.metrics.population.frames:nc2_etf",
        scale="square",
        upper=2.0,
        least_classes=3,
        arguments={"which": "means"},
        terminal=Place("NC2 off the simplex", 2),
    ),
    _row(
        "ml_nc2_weights",
        title="distance of the head to the simplex",
        function="ncollapse.metrics.nc2:nc2_etf",
        needs=("head",),
        formula="‖G/‖G‖_F - E‖_F, G = WWᵀ, W centred over labels",
        meaning="How far the rows of the head are from a simplex frame.",
        source=LI,
        null="directions",
        floor="ncollapse.metrics.nc2:simplex_floor",
        interval=Without("the classifier is known exactly, no sample enters"),
        estimate="ncollapse.metrics.population.frames:nc2_etf",
        scale="square",
        upper=2.0,
        least_classes=3,
        arguments={"which": "weight"},
        terminal=Place("NC2 head off simplex", 3),
    ),
    _row(
        "ml_nc3",
        title="cosine of head and means, one label",
        function="ncollapse.metrics.nc3:nc3_alignment",
        needs=("means", "head"),
        formula="mean over labels of cos(w_k, m_k)",
        meaning="Whether the head's rows point along the means of single labels.",
        source=LI,
        null="directions",
        floor=_NOISE,
        interval="samples",
        estimate="ncollapse.metrics.population.frames:nc3_alignment",
        scale="plain",
        ideal=1.0,
        direction="up",
        lower=-1.0,
        upper=1.0,
        directions=("means", "weight"),
        terminal=Place("NC3 head ~ means cos", 4),
    ),
    _row(
        "ml_tag_cosine",
        **_SETS | {"takes": ("tags",)},
        title="tag-wise average",
        function="ncollapse.metrics.tags:tag_cosine",
        formula="mean over label sets S of cos(μ_S - μ̄, Σ_{k∈S} m_k)",
        meaning="Whether means of samples with several labels point along the sum of the means of "
        "samples with one of them.",
        source=LI,
        ideal=1.0,
        direction="up",
        lower=-1.0,
        upper=1.0,
        terminal=Place("tag-wise average cos", 5),
    ),
    _row(
        "ml_tag_other",
        **_SETS | {"null": Without("it is itself what a mean of unknown labels reads")},
        title="cosine with other sets",
        function="ncollapse.metrics.tags:tag_other",
        formula="mean over sets S ≠ T of as many labels of cos(μ_S - μ̄, Σ_{k∈T} m_k)",
        meaning="The comparator of ml_tag_cosine: about 0 or less where means know their labels.",
        source=OURS,
        ideal=None,
        direction=None,
        lower=-1.0,
        upper=1.0,
        undefined="no two label sets have as many labels",
        terminal=Place("  with other labels", 6),
    ),
    *(
        _row(
            f"ml_scale_{m}",
            **_SETS | {"null": Without("a scale has no ideal; theory predicts it from one margin")},
            title=f"scale of {m} labels",
            function="ncollapse.metrics.tags:tag_scale",
            formula=f"C_m = Σ_S ⟨μ_S - μ̄, s_S⟩ / Σ_S ‖s_S‖² over sets of m = {m} labels",
            meaning="How long the mean of several labels is against the sum of single ones; those "
            "of every m, with what theory predicts, stand in details.",
            source=LI,
            ideal=None,
            direction=None,
            lower=None,
            arguments={"m": m},
            terminal=Place(f"scale C_{m}", 5 + m),
        )
        for m in (2, 3)
    ),
)
