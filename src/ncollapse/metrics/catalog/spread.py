"""Rows of where the variance within classes lives."""

from __future__ import annotations

from ncollapse.metrics.catalog.nc1 import OURS
from ncollapse.metrics.metric import Metric, Place, Without

ROWS = (
    Metric(
        key="head_share",
        function="ncollapse.metrics.head_share:head_share",
        title="share of the spread that the classifier sees",
        family="spread",
        needs=("means", "full", "head"),
        takes=("statistics", "geometry"),
        formula="tr(P Σ_W)/tr Σ_W, P on the span of the classifier's rows less their mean",
        meaning="Of the variance within classes, the part that softmax can see. Rows at random "
        "read r/q, their rank over the directions that features occupy: below it features are "
        "stillest where the classifier looks, above it what is left of their spread lies where it "
        "decides. It says nothing of how large the spread is.",
        source=OURS,
        null="span",
        floor=Without("a share of the spread does not shrink with it"),
        interval="influences",
        scale="log",
        estimate="ncollapse.metrics.population.head:head_share",
        ideal=None,
        direction=None,
        upper=1.0,
        unit="percent",
        cost="K d²",
        large=Without("Σ_W is not kept past the pair budget, only its traces are"),
        definitions={"macro": {"weighting": "macro"}, "micro": {"weighting": "micro"}},
        along=Place("spread seen by the head", 1),
        followed=True,
        undefined="nothing varies within classes, so there is no spread to share out",
    ),
)
