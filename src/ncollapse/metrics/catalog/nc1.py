"""Rows of NC1, variability collapse."""

from __future__ import annotations

from typing import Any

from ncollapse.metrics.metric import ALONE, Metric, Place, Without

PAPYAN = "Papyan, Han, Donoho 2020"
OURS = "this library"
_BOTH = ("statistics", "geometry")
_WEIGHTINGS: dict[str, dict[str, Any]] = {
    "macro": {"weighting": "macro"},
    "micro": {"weighting": "micro"},
}
_NO_SCATTER = Without("Σ_W is not kept past the pair budget, only its traces are")


def _fisher(within: str, between: str, centre: str, divisor: str = "classes") -> dict[str, Any]:
    return {"within": within, "between": between, "centre": centre, "divisor": divisor}


def _row(key: str, **row: Any) -> Metric:
    """A row that reads statistics and means, against shuffled labels and rounding."""
    common: dict[str, Any] = {
        "family": "NC1",
        "function": f"ncollapse.metrics.nc1:{key}",
        "takes": _BOTH,
        "null": "shuffled",
        "floor": "rounding",
        "interval": "samples",
        "estimate": f"ncollapse.metrics.population.nc1:{key}",
        "scale": "log",
    }
    return Metric(key=key, **{**common, **row})


ROWS = (
    _row(
        "class_share",
        aliases=("eta squared", "explained variance", "between-class share"),
        title="class share of variance",
        needs=("means", "trace"),
        formula="1 - (N-1)/(N-K) · SSW/SST",
        meaning="Share of the features' variance that the class explains, with chance removed: "
        "labels that mean nothing read 0, full collapse reads 1.",
        source=OURS,
        ideal=1.0,
        direction="up",
        lower=None,
        upper=1.0,
        unit="percent",
        scale="plain",
        terminal=Place("NC1 class share", 1),
        strip=Place("variance not from class", 1),
        curve=Place("class share", 1),
        layers=Place("share", 1),
        along=Place("class share of variance", 0),
        followed=True,
        undefined=ALONE,
    ),
    _row(
        "worst_share",
        title="class share of the worst class",
        needs=("means", "trace"),
        formula="min_c min_j d²_cj/(d²_cj + v_c + v_j)",
        meaning="Of the mean squared distance between a sample of one class and one of another, "
        "the share that their means explain, for the pair that has least: 0 for merged classes, "
        "whatever the others do.",
        source=OURS,
        ideal=1.0,
        direction="up",
        lower=None,
        upper=1.0,
        unit="percent",
        scale="least",
        cost="K² d",
        pairs="exact",
        large=Without("the worst of drawn pairs is not the worst of all"),
        terminal=Place("NC1 worst class share", 3),
        followed=True,
        undefined=ALONE,
    ),
    _row(
        "nc1_fisher",
        aliases=("variability collapse", "within-class variability", "pinv"),
        title="within against between scatter",
        needs=("means", "full"),
        formula="tr(Σ_W Σ_B⁺)/K",
        meaning="Within-class scatter measured in units of the scatter between classes, direction "
        "by direction; it grows with the number of samples when labels mean nothing.",
        interval="influences",
        source=PAPYAN,
        cost="N d² + K d²",
        large=_NO_SCATTER,
        definitions={
            "macro": _fisher("macro", "macro", "macro"),
            "micro": _fisher("micro", "micro", "micro"),
            "papyan2020": _fisher("micro", "macro", "macro"),
            "papyan2020_notebook": _fisher("micro", "macro", "macro", "none"),
            "zhu2021": _fisher("micro", "macro", "micro"),
            "rank": _fisher("macro", "macro", "macro", "rank"),
            "he2023": _fisher("micro", "micro", "micro", "none"),
        },
        terminal=Place("NC1 tr(Sw Sb+)/K", 2),
        strip=Place("within / between", 2),
        layers=Place("NC1", 2),
        followed=True,
    ),
    _row(
        "nc1_ratio",
        aliases=("trace ratio", "NC1 quotient"),
        title="variance ratio",
        needs=("means", "trace"),
        formula="tr Σ_W / tr Σ_B",
        meaning="Total variance within classes over that between class means.",
        source="Tirer, Huang, Niles-Weed 2023",
        definitions={**_WEIGHTINGS, "tirer2023": {"weighting": "micro"}},
        followed=True,
    ),
    _row(
        "nc1_cdnv",
        aliases=("CDNV", "class-distance normalized variance"),
        title="class-distance normalised variance",
        needs=("means", "trace"),
        formula="mean over pairs of (v_i + v_j)/(2 ‖μ_i - μ_j‖²)",
        meaning="Spread of two classes over their squared distance, averaged over pairs; close "
        "pairs of classes dominate it.",
        source="Galanti, György, Hutter 2022",
        cost="K² d",
        pairs="sampled",
        definitions={
            "macro": {"exponent": 1},
            "galanti2022": {"exponent": 1},
            "wu2024": {"exponent": 2},
        },
        followed=True,
    ),
    _row(
        "nc1_vci",
        aliases=("VCI",),
        title="variability collapse index",
        needs=("means", "full"),
        formula="1 - tr(Σ_T⁺ Σ_B)/rank Σ_B, Σ_T = Σ_W + Σ_B",
        meaning="Share of the class directions' variance that is not explained by class; unchanged "
        "by any invertible linear map of the features.",
        interval="influences",
        source="Xu, Liu 2023",
        upper=1.0,
        cost="N d² + d³",
        undefined="N - K is no more than the directions that vary within classes, where it is 0 "
        "whatever the features are; more samples are needed",
        large=_NO_SCATTER,
        definitions=_WEIGHTINGS,
    ),
    _row(
        "fisher_ratio",
        title="between over within variance",
        needs=("means", "trace"),
        formula="tr Σ_B / tr Σ_W",
        meaning="Sees norms only and diverges for any frame as the spread vanishes.",
        source="standard",
        ideal=None,
        direction="up",
        floor=Without("it has no bound: it diverges as the spread vanishes"),
        undefined="nothing varies within classes (tr Σ_W = 0)",
        definitions=_WEIGHTINGS,
    ),
)
