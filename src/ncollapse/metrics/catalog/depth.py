"""Rows of readings that relate a layer to the one behind it."""

from __future__ import annotations

from ncollapse.metrics.metric import Metric, Place, Without

ROWS = (
    Metric(
        key="span_alignment",
        title="class means against the weight that reads them",
        family="depth",
        function="ncollapse.metrics.alignment:span_alignment",
        needs=("means", "reads"),
        takes=("geometry",),
        formula="‖U_MᵀV_W‖²_F / r",
        meaning="Mean squared cosine of the angles between the span of the class means and the "
        "directions that the next layer's weight reads most: 1 where it looks at the class means "
        "and at nothing else.",
        source="Rangamani et al. 2023 (abstract read; the formula is ours)",
        null="directions",
        floor=Without("its ideal is 1, which rounding does not keep away from"),
        interval="samples",
        estimate="ncollapse.metrics.population.depth:span_alignment",
        ideal=1.0,
        direction="up",
        upper=1.0,
        cost="K² d",
        large=Without("past the pair budget the span of the means is not formed"),
        layers=Place("aligned", 6),
        undefined="the span of the means could not be formed",
    ),
)
