"""Rows of directional collapse: classes as rays. Two are collected where a key asks for them."""

from __future__ import annotations

from ncollapse.metrics.metric import Metric, Without

MIN = "Min, Zhu, Vidal 2025"
_SIZES = "a class has only samples of length zero, which have no direction"

ROWS = (
    Metric(
        key="dir_spread",
        function="ncollapse.metrics.directional:dir_spread",
        title="spread of directions",
        family="directional",
        needs=("means", "rays"),
        takes=("rays",),
        formula="mean over classes of 1 - ‖mean_i h_i/‖h_i‖‖",
        meaning="How far each class is from a ray, whatever the lengths; read where `keys` names "
        "it, or with directional=True. Self-duality of rays, cos(v_k, μ_k - μ_G), is "
        "nc3_alignment.",
        source=MIN,
        null="shuffled",
        floor="rounding",
        interval="influences",
        scale="log",
        upper=1.0,
        undefined=_SIZES,
    ),
    Metric(
        key="norm_cv",
        function="ncollapse.metrics.directional:norm_cv",
        title="spread of lengths",
        family="directional",
        needs=("means", "rays"),
        takes=("rays",),
        formula="mean over classes of std ‖h‖/mean ‖h‖, ddof = 0",
        meaning="How unequal the lengths within a class are: where classes are rays it is all that "
        "NC1 has left. Read where `keys` names it, or with directional=True.",
        source=MIN,
        null="shuffled",
        floor="rounding",
        interval="influences",
        scale="log",
        undefined=_SIZES,
    ),
    Metric(
        key="raw_cosine",
        function="ncollapse.metrics.directional:raw_cosine",
        title="largest cosine of raw means",
        family="directional",
        needs=("means",),
        takes=("geometry",),
        formula="max over pairs of |cos(μ_k, μ_l)|, raw means",
        meaning="The worst pair of nc2_gof_means: 0 where class means are pairwise orthogonal, "
        "whatever their lengths.",
        source=MIN,
        null="directions",
        floor=Without("rounding moves it far less than the sampling of the means"),
        interval="samples",
        estimate="ncollapse.metrics.population.frames:raw_cosine",
        scale="greatest",
        upper=1.0,
        directions=("raw",),
        cost="K² d",
        large=Without(
            "a largest cosine is over all pairs, and past the pair budget some are drawn"
        ),
    ),
)
