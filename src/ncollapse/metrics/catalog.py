"""One row per metric: key, function, needs, cost, ideal, direction, formula, source, definitions.

Rows name their function by path, so reading the catalog imports no torch.
"""

from __future__ import annotations

from typing import Any

from ncollapse.metrics.metric import Metric

PAPYAN = "Papyan, Han, Donoho 2020"
OURS = "this library"


_BOTH = ("statistics", "geometry")
_GEOMETRY = ("geometry",)
_DECISIONS = ("decisions",)
_WEIGHTINGS: dict[str, dict[str, Any]] = {
    "macro": {"weighting": "macro"},
    "micro": {"weighting": "micro"},
}


def _fisher(within: str, between: str, centre: str, divisor: str = "classes") -> dict[str, Any]:
    return {"within": within, "between": between, "centre": centre, "divisor": divisor}


def _of_both(key: str, **row: Any) -> list[Metric]:
    """The rows of a metric that reads means or weights."""
    rows = []
    for suffix, which, needs in (
        ("means", "means", ("means",)),
        ("weights", "weight", ("head",)),
    ):
        own = dict(row)
        definitions = own.pop(f"definitions_{which}", own.pop("definitions", {}))
        own.pop("definitions_weight", None)
        own.pop("definitions", None)
        rows.append(
            Metric(
                key=f"{key}_{suffix}",
                needs=needs,
                takes=_GEOMETRY,
                arguments={"which": which},
                definitions=definitions,
                **{**own, "title": f"{own['title']} of {suffix}"},
            )
        )
    return rows


_ROWS = [
    Metric(
        "class_share",
        "ncollapse.metrics.nc1:class_share",
        "class share of variance",
        ("means", "trace"),
        _BOTH,
        "1 - (N-1)/(N-K) · SSW/SST",
        "Share of the features' variance that the class explains, with chance removed: labels "
        "that mean nothing read 0, full collapse reads 1.",
        OURS,
        ideal=1.0,
        direction="up",
        lower=None,
        upper=1.0,
    ),
    Metric(
        "nc1_fisher",
        "ncollapse.metrics.nc1:nc1_fisher",
        "within against between scatter",
        ("means", "full"),
        _BOTH,
        "tr(Σ_W Σ_B⁺)/K",
        "Within-class scatter measured in units of the scatter between classes, direction by "
        "direction; it grows with the number of samples when labels mean nothing.",
        PAPYAN,
        cost="N d² + K d²",
        definitions={
            "macro": _fisher("macro", "macro", "macro"),
            "micro": _fisher("micro", "micro", "micro"),
            "papyan2020": _fisher("micro", "macro", "macro"),
            "papyan2020_notebook": _fisher("micro", "macro", "macro", "none"),
            "zhu2021": _fisher("micro", "macro", "micro"),
            "rank": _fisher("macro", "macro", "macro", "rank"),
        },
    ),
    Metric(
        "nc1_ratio",
        "ncollapse.metrics.nc1:nc1_ratio",
        "variance ratio",
        ("means", "trace"),
        _BOTH,
        "tr Σ_W / tr Σ_B",
        "Total variance within classes over that between class means.",
        "Tirer, Huang, Niles-Weed 2023",
        definitions={**_WEIGHTINGS, "tirer2023": {"weighting": "micro"}},
    ),
    Metric(
        "nc1_cdnv",
        "ncollapse.metrics.nc1:nc1_cdnv",
        "class-distance normalised variance",
        ("means", "trace"),
        _BOTH,
        "mean over pairs of (v_i + v_j)/(2 ‖μ_i - μ_j‖²)",
        "Spread of two classes over their squared distance, averaged over pairs; close pairs "
        "of classes dominate it.",
        "Galanti, György, Hutter 2022",
        cost="K² d",
        definitions={
            "macro": {"exponent": 1},
            "galanti2022": {"exponent": 1},
            "wu2024": {"exponent": 2},
        },
    ),
    Metric(
        "nc1_vci",
        "ncollapse.metrics.nc1:nc1_vci",
        "variability collapse index",
        ("means", "full"),
        _BOTH,
        "1 - tr(Σ_T⁺ Σ_B)/rank Σ_B, Σ_T = Σ_W + Σ_B",
        "Share of the class directions' variance that is not explained by class; unchanged by "
        "any invertible linear map of the features.",
        "Xu, Liu 2023",
        upper=1.0,
        cost="N d² + d³",
        definitions=_WEIGHTINGS,
    ),
    *_of_both(
        "nc2_equinorm",
        function="ncollapse.metrics.nc2:nc2_equinorm",
        title="equal norms",
        formula="std/mean of row norms, ddof = 1",
        meaning="How unequal the lengths are; random directions in many dimensions already have "
        "nearly equal lengths, so read it against its null.",
        source=PAPYAN,
        definitions={"population": {"ddof": 0}},
    ),
    *_of_both(
        "nc2_equiangular",
        function="ncollapse.metrics.nc2:nc2_equiangular",
        title="equal angles",
        formula="std of pairwise cosines, ddof = 0 over pairs",
        meaning="How unequal the angles are; random directions read about 1/√d.",
        source=PAPYAN,
        cost="K² d or K d²",
        upper=1.0,
    ),
    *_of_both(
        "nc2_maxangle",
        function="ncollapse.metrics.nc2:nc2_maxangle",
        title="largest equal angles",
        formula="mean |cos + 1/(K-1)| over pairs",
        meaning="How far the angles are from those of a simplex; random directions read about "
        "√(2/(πd)).",
        source=PAPYAN,
        cost="K² d",
        upper=2.0,
    ),
    *_of_both(
        "nc2_etf",
        function="ncollapse.metrics.nc2:nc2_etf",
        title="distance to the simplex",
        formula="‖G/‖G‖_F - E‖_F, G = MMᵀ or WWᵀ (W centred over classes)",
        meaning="How far the Gram matrix is from that of a simplex frame, lengths included; for "
        "K > d + 1 it cannot fall below √(2 - 2√(d/(K-1))).",
        source="Zhu et al. 2021",
        cost="K² d or K d²",
        upper=2.0,
        definitions_weight={"zhu2021": {"centred": False}, "zhou2022": {"centred": True}},
    ),
    *_of_both(
        "nc2_orthogonal",
        function="ncollapse.metrics.nc2:nc2_orthogonal",
        title="distance to the orthogonal frame",
        formula="‖G/‖G‖_F - I/√K‖_F, G of raw rows",
        meaning="How far the raw rows are from orthogonal and equally long: the frame of "
        "bias-free squared loss and of non-negative features (NC2B).",
        source="Zhou et al. 2022",
        cost="K² d or K d²",
        upper=2.0,
    ),
    *_of_both(
        "nc2_gof",
        function="ncollapse.metrics.nc2:nc2_gof",
        title="orthogonality, lengths free",
        formula="mean |cos| over pairs of raw rows",
        meaning="How far the raw rows are from pairwise orthogonal, whatever their lengths: the "
        "general orthogonal frame of imbalanced data.",
        source="Dang et al. 2023",
        cost="K² d",
        upper=1.0,
    ),
    Metric(
        "nc2_angle_ratio",
        "ncollapse.metrics.nc2:nc2_angle_ratio",
        "angles against random",
        ("means",),
        _GEOMETRY,
        "nc2_maxangle_means / √(2/(πd))",
        "1 for random directions, 0 for a simplex.",
        OURS,
        cost="K² d",
    ),
    Metric(
        "nc3_duality",
        "ncollapse.metrics.nc3:nc3_duality",
        "self-duality",
        ("means", "head"),
        _GEOMETRY,
        "‖W/‖W‖_F - M/‖M‖_F‖_F",
        "Distance between classifier and centred class means, each scaled to length one; "
        "unrelated directions read √2.",
        PAPYAN,
        upper=2.0,
        definitions={
            "macro": {},
            "papyan2020": {},
            "papyan2020_notebook": {"squared": True},
        },
    ),
    Metric(
        "nc3_duality_raw",
        "ncollapse.metrics.nc3:nc3_duality",
        "self-duality, raw means",
        ("means", "head"),
        _GEOMETRY,
        "‖W/‖W‖_F - A/‖A‖_F‖_F, A = raw class means",
        "The same against raw means: small when the frame is orthogonal and not centred.",
        PAPYAN,
        upper=2.0,
        arguments={"means": "raw"},
    ),
    Metric(
        "nc3_alignment",
        "ncollapse.metrics.nc3:nc3_alignment",
        "classifier-mean cosine",
        ("means", "head"),
        _GEOMETRY,
        "mean over classes of cos(w_c, m_c)",
        "Mean cosine between a class's classifier row and its centred mean.",
        PAPYAN,
        ideal=1.0,
        direction="up",
        lower=-1.0,
        upper=1.0,
    ),
    Metric(
        "nc3_product",
        "ncollapse.metrics.nc3:nc3_product",
        "distance of WMᵀ to the simplex",
        ("means", "head"),
        _GEOMETRY,
        "‖WMᵀ/‖WMᵀ‖_F - E‖_F",
        "Zero only when classifier and means are dual and form a simplex.",
        "Zhu et al. 2021",
        upper=2.0,
        cost="K² d or K d²",
        definitions={"macro": {}, "zhu2021": {}, "zhou2022": {"centred": True}},
    ),
    Metric(
        "nc4_mismatch",
        "ncollapse.metrics.nc4:nc4_mismatch",
        "head against nearest centre",
        ("decisions", "head"),
        _DECISIONS,
        "share of samples with argmax(Wh + b) ≠ argmin ‖h - μ_c‖",
        "How often the classifier and the nearest training class centre disagree.",
        PAPYAN,
        upper=1.0,
        cost="N K d",
    ),
    Metric(
        "accuracy",
        "ncollapse.metrics.nc4:accuracy",
        "accuracy of the head",
        ("decisions", "head"),
        _DECISIONS,
        "share of samples with argmax(Wh + b) = y",
        "Read it first: collapse of a network that has not learnt its data means little.",
        "standard",
        ideal=None,
        direction="up",
        upper=1.0,
        cost="N K d",
    ),
    Metric(
        "ncc_accuracy",
        "ncollapse.metrics.nc4:ncc_accuracy",
        "accuracy of the nearest centre",
        ("decisions",),
        _DECISIONS,
        "share of samples with argmin ‖h - μ_c‖ = y",
        "What the class means alone can classify.",
        "standard",
        ideal=None,
        direction="up",
        upper=1.0,
        cost="N K d",
    ),
    Metric(
        "fisher_ratio",
        "ncollapse.metrics.nc1:fisher_ratio",
        "between over within variance",
        ("means", "trace"),
        _BOTH,
        "tr Σ_B / tr Σ_W",
        "Sees norms only and diverges for any frame as the spread vanishes.",
        "standard",
        ideal=None,
        direction="up",
        definitions=_WEIGHTINGS,
    ),
    Metric(
        "margin_min",
        "ncollapse.metrics.nc4:margin_min",
        "smallest margin",
        ("decisions", "head"),
        _DECISIONS,
        "min over samples of z_y - max_{j≠y} z_j",
        "The logit margin of the worst sample; positive when all are right.",
        "standard",
        ideal=None,
        direction="up",
        lower=None,
        cost="N K d",
    ),
    Metric(
        "margin_mean",
        "ncollapse.metrics.nc4:margin_mean",
        "mean margin",
        ("decisions", "head"),
        _DECISIONS,
        "mean over samples of z_y - max_{j≠y} z_j",
        "The mean logit margin.",
        "standard",
        ideal=None,
        direction="up",
        lower=None,
        cost="N K d",
    ),
]

METRICS: dict[str, Metric] = {row.key: row for row in _ROWS}
DEFINITIONS: tuple[str, ...] = tuple(
    sorted({name for row in _ROWS for name in row.definitions} | {"macro", "micro"})
)
