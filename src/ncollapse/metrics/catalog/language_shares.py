"""Rows of language models: shares of variance, and the information that keeps some of it."""

from __future__ import annotations

from typing import Any

from ncollapse.metrics.catalog.language import language_row
from ncollapse.metrics.catalog.nc1 import OURS
from ncollapse.metrics.metric import Metric, Place, Without


def _share(part: str, title: str, formula: str, meaning: str, rank: int) -> tuple[Metric, Metric]:
    """A corrected share of variance, and the same of standardised features."""
    common: dict[str, Any] = {
        "family": "shares",
        "needs": ("shares",),
        "takes": ("shares",),
        "source": f"{OURS}, after Abrahao 2026 (remembered, not read)",
        "null": Without("what noise adds is taken off, so that shuffled tokens read 0 and 0 and 1"),
        "floor": Without("rounding is a share of about 1e-14, or of 1e-6 in bfloat16"),
        "interval": Without("neighbouring positions are not independent, and no formula knows how"),
        "ideal": None,
        "direction": None,
        "lower": None,
        "upper": None,
        "unit": "percent",
        "undefined": "every token is seen once, so that nothing tells context from noise",
    }
    plain: dict[str, Any] = {
        "title": title,
        "formula": formula,
        "meaning": meaning,
        "arguments": {"part": part},
        "terminal": Place(f"variance of {part}", rank),
    }
    alike: dict[str, Any] = {
        "title": f"{title}, features standardised",
        "formula": f"mean over features of {formula}",
        "meaning": "The same with every feature over its own standard deviation, so that one "
        "feature of large variance does not speak for all.",
        "arguments": {"part": part, "standardised": True},
    }
    place = "shares:share"
    return (
        language_row(f"lm_share_{part}", place, **{**common, **plain}),
        language_row(f"lm_share_{part}_standardised", place, **{**common, **alike}),
    )


ROWS = (
    *_share(
        "category",
        "variance due to the category",
        "SS_category/SST, less what noise adds",
        "Share of the features' variance between the means of token categories; 0 where there is "
        "one category.",
        1,
    ),
    *_share(
        "token",
        "variance due to the next token",
        "SS_token|category/SST, less what noise adds",
        "Share between the means of next tokens within their category: what collapse would make "
        "all of it.",
        2,
    ),
    *_share(
        "context",
        "variance due to the context",
        "SS_context/SST, with what noise added to the others",
        "Share within next tokens: contexts that the token does not tell. Part of it must stay "
        "where several tokens can follow.",
        3,
    ),
    language_row(
        "lm_information",
        "information:information",
        family="shares",
        needs=("information",),
        takes=("information",),
        title="information of the context",
        formula="I(token; context | category) = Σ w_g [H(mean p) - mean H(p)], nats",
        meaning="How much predictions depend on context within a category, as the model has it.",
        source=OURS,
        null=Without("a model that ignores its context reads 0"),
        floor=Without("it is exact to rounding of the softmax"),
        interval=Without("neighbouring positions are not independent, and no formula knows how"),
        ideal=None,
        direction=None,
        cost="N V d",
    ),
    language_row(
        "lm_information_floor",
        "information:floor_share",
        family="shares",
        needs=("information", "shares"),
        takes=("information", "shares"),
        title="share of the variance that information keeps",
        formula="Σ w_g 4 I_g/‖P W_g‖² over the variance within categories",
        meaning="What of the variance within categories cannot go without changing predictions or "
        "enlarging the head: tokens with several successors cannot collapse.",
        source=f"{OURS}, after Abrahao 2026 (remembered, not read)",
        null=Without("a model that ignores its context reads 0"),
        floor=Without("it is a floor itself"),
        interval=Without("neighbouring positions are not independent, and no formula knows how"),
        ideal=None,
        direction=None,
        upper=1.0,
        unit="percent",
        cost="N V d",
        undefined="nothing varies within categories",
        terminal=Place("    kept by information", 5),
    ),
)
