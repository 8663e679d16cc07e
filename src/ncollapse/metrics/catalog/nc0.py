"""The row of NC0, the sum of the classifier's rows."""

from __future__ import annotations

from ncollapse.metrics.metric import Metric, Place, Without

ROWS = (
    Metric(
        key="nc0",
        aliases=("zero sum", "sum of rows"),
        title="sum of the classifier's rows",
        family="NC0",
        function="ncollapse.metrics.nc0:nc0",
        needs=("head",),
        takes=("geometry",),
        formula="‖Wᵀ1‖²/(K ‖W‖²_F)",
        meaning="Share of the classifier that all classes have in common, which softmax does not "
        "see: 0 where the rows cancel, 1/K for orthogonal rows, 1 for identical ones. Self-duality "
        "cannot be better than √(2 - 2√(1 - NC0)).",
        source="Zhao et al. 2026 (abstract and page read); the scale is ours",
        null="directions",
        floor="ncollapse.metrics.nc0:floor",
        interval=Without("the classifier is known exactly, no sample enters"),
        estimate="ncollapse.metrics.population.frames:nc0",
        uncentred=True,
        upper=1.0,
        alone=Place("NC0 sum of rows", 1),
        followed=True,
        undefined="every weight of the classifier is zero",
    ),
)
