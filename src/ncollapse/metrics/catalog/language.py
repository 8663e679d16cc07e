"""Rows of language models: next tokens as classes (linguistic collapse)."""

from __future__ import annotations

from typing import Any

from ncollapse.metrics.catalog.nc1 import OURS
from ncollapse.metrics.metric import Metric, Place, Without

WU = "Wu, Papyan 2024"
_TOKENS = Without(
    "tokens of one text are no independent draws, so leaving some out tells too little; where "
    "pairs of classes are drawn, it is theirs"
)
_GRAM = Without("a sum over all pairs, which rounding moves far less than sampling of the means")
_FREQUENT = "two class means coincide, or two classes of one token each have no spread at all; "
_FREQUENT += "raise min_count"


def language_row(key: str, name: str, **row: Any) -> Metric:
    """A row that reads the geometry of class means, against random directions."""
    common: dict[str, Any] = {
        "task": "language",
        "function": f"ncollapse.metrics.{name if ':' in name else f'linguistic:{name}'}",
        "needs": ("means",),
        "takes": ("geometry",),
        "source": WU,
        "null": "directions",
        "floor": _GRAM,
        "interval": _TOKENS,
        "cost": "K d²",
    }
    return Metric(key=key, **{**common, **row})


def _cdnv(key: str, arguments: dict[str, Any], **row: Any) -> Metric:
    """A row of variances over distances; definition `unbiased` takes n/(n - 1) of the former."""
    common: dict[str, Any] = {
        "family": "NC1",
        "needs": ("means", "trace"),
        "takes": ("statistics", "geometry"),
        "null": "shuffled",
        "floor": "rounding",
        "scale": "log",
        "cost": "K² d",
        "pairs": "sampled",
        "arguments": arguments,
        "definitions": {"macro": {}, "unbiased": {"unbiased": True}},
        "undefined": _FREQUENT,
    }
    return language_row(key, "cdnv", **{**common, **row})


def _log(key: str, arguments: dict[str, Any], **row: Any) -> Metric:
    signs: dict[str, Any] = {"scale": "plain", "ideal": None, "lower": None}
    return _cdnv(key, {**arguments, "log": True}, **signs, **row)


def _kernel(name: str, title: str, formula: str, floor: str, **row: Any) -> tuple[Metric, Metric]:
    """Mean and variation of a kernel of directions."""
    common: dict[str, Any] = {
        "family": "NC2",
        "arguments": {"name": name},
        "directions": ("means",),
        "cost": "K² d",
        "pairs": "sampled",
        "undefined": "two class means have one direction",
    }
    mean: dict[str, Any] = {
        "title": f"{title}, mean over pairs",
        "formula": f"mean over pairs of {formula}, u_c = m_c/‖m_c‖",
        "meaning": "How evenly the directions of class means are spread over the sphere; small for "
        "even ones, and ruled by directions that lie close.",
        "floor": f"ncollapse.metrics.linguistic:{floor}",
        "ideal": None,
        "lower": None,
    }
    spread: dict[str, Any] = {
        "title": f"{title}, variation",
        "formula": f"standard deviation over mean of {formula} over pairs",
        "meaning": "How unlike the distances between directions are. Random directions of many "
        "features read little already, so it tells trained models apart, not training from none.",
        "floor": Without("rounding moves distances of directions far less than sampling does"),
    }
    if name == "log":
        spread |= {
            "terminal": Place("GNC2 alike", 34),
            "strip": Place("distances of directions", 3),
            "curve": Place("GNC2", 3),
        }
    return (
        language_row(f"lm_gnc2_{name}", "kernel", **{**common, **mean, **row}),
        language_row(f"lm_gnc2_{name}_variation", "variation", **{**common, **spread, **row}),
    )


_HEAD: dict[str, Any] = {"needs": ("means", "head"), "directions": ("means", "weight")}
_DECIDED: dict[str, Any] = {
    "family": "NC4",
    "needs": ("decisions", "head"),
    "takes": ("decisions",),
    "null": "guesses",
    "floor": Without("a share of tokens; decisions are settled in float64"),
    "interval": "shares",
    "ideal": 1.0,
    "direction": "up",
    "upper": 1.0,
    "unit": "percent",
    "cost": "N K d",
}


ROWS = (
    _cdnv(
        "lm_cdnv_1",
        {"exponent": 1},
        title="NC1, variance over squared distance",
        formula="mean over pairs of (v_i + v_j)/(2 ‖μ_i - μ_j‖²)",
        meaning="Spread of two tokens' contexts over the squared distance of their means; ruled by "
        "pairs of tokens whose means are close.",
        source="Galanti, György, Hutter 2022",
        terminal=Place("NC1 CDNV", 20),
        strip=Place("within over between", 1),
        curve=Place("CDNV", 1),
    ),
    _log(
        "lm_cdnv_1_log",
        {"exponent": 1},
        title="the same, mean of logarithms",
        formula="mean over pairs of log (v_i + v_j)/(2 ‖μ_i - μ_j‖²)",
        meaning="The typical pair of tokens, where the mean is ruled by the closest.",
        source=f"{OURS}, after Galanti, György, Hutter 2022",
    ),
    _cdnv(
        "lm_cdnv_2",
        {"exponent": 2},
        title="NC1 as published, 1/length²",
        formula="mean over pairs of (v_i + v_j)/(2 ‖μ_i - μ_j‖⁴)",
        meaning="The published form. It has a unit, 1/length²: features that merely grow lower it, "
        "so compare it beside the form without one.",
    ),
    _log(
        "lm_cdnv_2_log",
        {"exponent": 2},
        title="the same, mean of logarithms",
        formula="mean over pairs of log (v_i + v_j)/(2 ‖μ_i - μ_j‖⁴)",
        meaning="The typical pair, with the unit of the published form.",
    ),
    _cdnv(
        "lm_cdnv_free",
        {"exponent": 2, "scaled": True},
        title="NC1 with exponent 2, without a unit",
        formula="mean ‖m‖² · mean over pairs of (v_i + v_j)/(2 ‖μ_i - μ_j‖⁴)",
        meaning="The published form times the squared length of means: what of its fall is no mere "
        "growth of features.",
        source=f"{OURS}, after {WU}",
        terminal=Place("    without a unit", 22),
    ),
    _log(
        "lm_cdnv_free_log",
        {"exponent": 2, "scaled": True},
        title="the same, mean of logarithms",
        formula="log mean ‖m‖² + mean over pairs of log (v_i + v_j)/(2 ‖μ_i - μ_j‖⁴)",
        meaning="The typical pair, without a unit.",
        source=f"{OURS}, after {WU}",
    ),
    language_row(
        "lm_equinorm",
        "nc2:nc2_equinorm",
        family="NC2",
        title="NC2, lengths of means",
        formula="standard deviation over mean of ‖m_c‖",
        meaning="How unlike the lengths of centred class means are.",
        cost="K d",
    ),
    language_row(
        "lm_equinorm_log",
        "equinorm_log",
        family="NC2",
        title="NC2, logarithms of lengths",
        formula="standard deviation over |mean| of log ‖m_c‖",
        meaning="As published. The mean of logarithms depends on the unit of length; the row below "
        "does not.",
        cost="K d",
        terminal=Place("NC2 log lengths", 31),
        strip=Place("lengths of means", 2),
        curve=Place("log lengths", 2),
    ),
    language_row(
        "lm_equinorm_log_spread",
        "equinorm_log",
        family="NC2",
        arguments={"relative": False},
        title="spread of logarithms of lengths",
        formula="standard deviation of log ‖m_c‖",
        meaning="The same without the mean below it: free of the unit of length.",
        source=f"{OURS}, after {WU}",
        cost="K d",
    ),
    language_row(
        "lm_equiangular",
        "nc2:nc2_equiangular",
        family="NC2",
        title="NC2, angles of means",
        formula="standard deviation over pairs of cos(m_i, m_j)",
        meaning="How unlike the angles between class means are.",
        directions=("means",),
        upper=1.0,
    ),
    language_row(
        "lm_interference",
        "interference",
        family="NC2",
        title="interference",
        formula="mean over pairs of ⟨m_i, m_j⟩ = -mean ‖m‖²/(K - 1)",
        meaning="As published. Centred means sum to zero, so it is minus a mean squared length "
        "over K - 1 whatever their directions, and tells of lengths alone.",
        null=Without("it depends on no direction, so random ones of these lengths read the same"),
        ideal=None,
        direction=None,
        lower=None,
        upper=0.0,
        cost="K d",
    ),
    language_row(
        "lm_interference_spread",
        "interference_spread",
        family="NC2",
        title="interference, its spread",
        formula="standard deviation over pairs of ⟨m_i, m_j⟩, over mean ‖m‖²",
        meaning="What interference does tell: how unlike the inner products of means are. Times "
        "K - 1 it is the published quotient of standard deviation and mean.",
        undefined="all class means coincide",
    ),
    language_row(
        "lm_etf",
        "nc2:nc2_etf",
        family="NC2",
        title="NC2, distance from a simplex",
        formula="‖MMᵀ/‖MMᵀ‖_F - E‖_F, E = (I - 11ᵀ/K)/√(K-1)",
        meaning="How far the means are from a simplex frame, which more classes than d + 1 cannot "
        "be: the floor says how near they can come.",
        floor="ncollapse.metrics.nc2:simplex_floor",
        upper=2.0,
        undefined="all class means coincide",
    ),
    *_kernel(
        "log",
        "GNC2, log kernel",
        "log 1/‖u_i - u_j‖",
        "log_floor",
    ),
    *_kernel(
        "riesz",
        "GNC2, Riesz kernel",
        "‖u_i - u_j‖⁻ˢ, s = d - 2",
        "log_floor",
        pairs="none",
        large=Without("the nearest of all pairs rule it, and drawn ones miss them"),
        null=Without(
            "the nearest of all pairs rule it, so that few random directions tell nothing"
        ),
    ),
    *_kernel(
        "rbf",
        "GNC2, Gaussian kernel",
        "exp(-2 ‖u_i - u_j‖²)",
        "rbf_floor",
        source=f"{OURS}, after Wang, Isola 2020 (remembered, not read)",
    ),
    language_row(
        "lm_nc3",
        "nc3:nc3_alignment",
        family="NC3",
        **_HEAD,
        title="NC3, head along means",
        formula="mean over classes of cos(w_c, m_c)",
        meaning="Whether the head's rows point where class means do.",
        ideal=1.0,
        direction="up",
        lower=-1.0,
        upper=1.0,
        cost="K d",
        terminal=Place("NC3 head along means", 40),
        strip=Place("head along means", 4),
        curve=Place("NC3", 4),
    ),
    language_row(
        "lm_unc3",
        "unc3",
        family="NC3",
        **_HEAD,
        title="UNC3, head alike along means",
        formula="standard deviation over |mean| of cos(w_c, m_c)",
        meaning="Whether all rows of the head are as far from their means. With tied embeddings it "
        "is partly a statement about input embeddings.",
        cost="K d",
        undefined="the cosines have mean 0",
        terminal=Place("UNC3 alike", 41),
        strip=Place("alike for all tokens", 5),
        curve=Place("UNC3", 5),
    ),
    language_row(
        "lm_duality",
        "nc3:nc3_product",
        family="NC3",
        **_HEAD,
        title="NC3, distance of WMᵀ from a simplex",
        formula="‖WMᵀ/‖WMᵀ‖_F - E‖_F",
        meaning="How far head and means are from one simplex frame together; more classes than "
        "d + 1 cannot be one.",
        floor="ncollapse.metrics.nc2:simplex_floor",
        upper=2.0,
        undefined="all class means coincide, or the head is zero",
    ),
    language_row(
        "lm_nc4",
        "nc4",
        **_DECIDED,
        title="NC4, head and nearest mean agree",
        formula="share of tokens with argmax(Wh + b) = argmin ‖h - μ_c‖, over c that have a mean",
        meaning="How often the predicted token is also the one of the nearest class mean. Read it "
        "on validation text.",
        definitions={"macro": {}, "wu2024": {"plain": True}},
        terminal=Place("NC4 agreement", 50),
        strip=Place("head as nearest mean", 6),
        curve=Place("NC4", 6),
    ),
    language_row(
        "lm_accuracy",
        "nc4:accuracy",
        **_DECIDED,
        title="next token predicted",
        formula="share of tokens with argmax(Wh + b) = y",
        meaning="How often the most probable token is the one that follows.",
        source=OURS,
        terminal=Place("next token right", 51),
    ),
)
